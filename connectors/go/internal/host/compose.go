package host

import (
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
)

// The protocol's content into waE2E (pure but for the message keys, which need to know who we are).

// keyBuilder is the part of whatsmeow's client that builds messages about other messages.
type keyBuilder interface {
	BuildEdit(chat types.JID, id types.MessageID, content *waE2E.Message) *waE2E.Message
	BuildRevoke(chat, sender types.JID, id types.MessageID) *waE2E.Message
	BuildReaction(chat, sender types.JID, id types.MessageID, reaction string) *waE2E.Message
}

var _ keyBuilder = (*whatsmeow.Client)(nil)

// parseTo reads a JID without a device. c.us is what phone numbers were called before.
func parseTo(s string) (types.JID, error) {
	if s == "" || strings.HasPrefix(s, "@") {
		return types.EmptyJID, errors.New("no recipient")
	}
	jid, err := types.ParseJID(s)
	if err != nil {
		return types.EmptyJID, fmt.Errorf("recipient %q: %w", s, err)
	}
	if jid.Server == types.LegacyUserServer {
		jid.Server = types.DefaultUserServer
	}
	if jid.User == "" || jid.Server == "" {
		return types.EmptyJID, fmt.Errorf("recipient %q is no JID", s)
	}
	if jid.Device != 0 {
		return types.EmptyJID, fmt.Errorf("recipient %q names a device", s)
	}
	return jid, nil
}

// compose makes the recipient and message of a command.
func compose(c *hostpb.Send, keys keyBuilder) (types.JID, *waE2E.Message, error) {
	to, err := parseTo(c.To)
	if err != nil {
		return to, nil, err
	}
	if c.MessageId == "" {
		return to, nil, errors.New("no message id")
	}
	content := c.Content
	if content == nil {
		return to, nil, errors.New("no content")
	}
	message, err := composeContent(to, content, keys)
	return to, message, err
}

func composeContent(to types.JID, content *hostpb.OutgoingContent, keys keyBuilder) (*waE2E.Message, error) {
	switch content.Type {
	case "text":
		return composeText(to, content)
	case "edit":
		id, _, err := target(content)
		if err != nil {
			return nil, err
		}
		text, err := composeText(to, content)
		if err != nil {
			return nil, err
		}
		return keys.BuildEdit(to, id, text), nil
	case "revoke":
		id, sender, err := target(content)
		if err != nil {
			return nil, err
		}
		return keys.BuildRevoke(to, sender, id), nil
	case "reaction":
		id, sender, err := target(content)
		if err != nil {
			return nil, err
		}
		if to.Server == types.NewsletterServer {
			return nil, errors.New("reactions to channel messages cannot be sent yet")
		}
		if sender.IsEmpty() && !content.Target.FromMe && chatKind(to) == "user" {
			sender = to // in a chat of two who is not us is the other
		}
		return keys.BuildReaction(to, sender, id, strings.ReplaceAll(content.Reaction, "\ufe0f", "")), nil
	}
	return nil, fmt.Errorf("content type %q cannot be sent", content.Type)
}

// target reads the message that an edit, revoke or reaction is about; an empty sender means us.
func target(content *hostpb.OutgoingContent) (id types.MessageID, sender types.JID, err error) {
	t := content.Target
	if t == nil || t.Id == "" {
		return "", sender, fmt.Errorf("%s without a target", content.Type)
	}
	if t.FromMe || t.Sender == "" {
		return t.Id, types.EmptyJID, nil
	}
	if sender, err = parseTo(t.Sender); err != nil {
		return "", sender, fmt.Errorf("target sender: %w", err)
	}
	return t.Id, sender, nil
}

func composeText(to types.JID, content *hostpb.OutgoingContent) (*waE2E.Message, error) {
	if content.Text == "" {
		return nil, errors.New("empty text")
	}
	info, err := composeContext(to, content.Context)
	if err != nil {
		return nil, err
	}
	if info == nil && content.Preview == nil {
		return &waE2E.Message{Conversation: &content.Text}, nil
	}
	text := &waE2E.ExtendedTextMessage{Text: &content.Text, ContextInfo: info}
	if p := content.Preview; p != nil {
		if p.Url == "" || !strings.Contains(content.Text, p.Url) {
			return nil, errors.New("the preview's url must be part of the text")
		}
		text.MatchedText = &p.Url
		text.Title = optional(p.Title)
		text.Description = optional(p.Description)
		text.JPEGThumbnail = p.Thumbnail
		text.PreviewType = waE2E.ExtendedTextMessage_NONE.Enum()
		if kind, ok := waE2E.ExtendedTextMessage_PreviewType_value[strings.ToUpper(p.Type)]; ok {
			text.PreviewType = waE2E.ExtendedTextMessage_PreviewType(kind).Enum()
		}
	}
	return &waE2E.Message{ExtendedTextMessage: text}, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// mentionEveryone is ContextInfo.nonJIDMentions for @all.
const mentionEveryone = 1

// composeContext gives nil for a context that says nothing.
func composeContext(to types.JID, c *hostpb.Context) (*waE2E.ContextInfo, error) {
	if c == nil {
		return nil, nil
	}
	info := &waE2E.ContextInfo{}
	if q := c.Quoted; q != nil {
		if q.Key == nil || q.Key.Id == "" {
			return nil, errors.New("quote without a message id")
		}
		info.StanzaID = &q.Key.Id
		info.Participant = optional(q.Key.Sender)
		if q.Key.Sender == "" && !q.Key.FromMe && chatKind(to) == "user" {
			info.Participant = proto.String(to.String())
		}
		if q.Key.Chat != "" && q.Key.Chat != to.String() {
			info.RemoteJID = &q.Key.Chat
		}
		info.QuotedMessage = &waE2E.Message{Conversation: proto.String(q.GetText())}
		info.QuotedType = waE2E.ContextInfo_EXPLICIT.Enum()
	}
	for _, m := range c.Mentions {
		jid, err := parseTo(m)
		if err != nil {
			return nil, fmt.Errorf("mention: %w", err)
		}
		info.MentionedJID = append(info.MentionedJID, jid.String())
	}
	for _, g := range c.GroupMentions {
		info.GroupMentions = append(info.GroupMentions, &waE2E.GroupMention{GroupJID: &g.Jid, GroupSubject: &g.Subject})
	}
	if c.MentionAll {
		info.NonJIDMentions = proto.Uint32(mentionEveryone)
	}
	if c.Forwarded || c.GetForwardingScore() > 0 {
		info.IsForwarded = proto.Bool(true)
		info.ForwardingScore = proto.Uint32(uint32(max(c.GetForwardingScore(), 1)))
	}
	if c.EphemeralS != nil {
		info.Expiration = proto.Uint32(uint32(max(c.GetEphemeralS(), 0)))
		if c.EphemeralSetAtMs != nil {
			info.EphemeralSettingTimestamp = proto.Int64(c.GetEphemeralSetAtMs() / 1000)
		}
	}
	if proto.Equal(info, &waE2E.ContextInfo{}) {
		return nil, nil
	}
	return info, nil
}
