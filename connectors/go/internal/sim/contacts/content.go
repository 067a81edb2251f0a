package contacts

import (
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/sim/ledger"
)

const kindText = "text"

// Quote is the message that a text answers.
type Quote struct {
	ID     string `json:"id"`
	Sender string `json:"sender"`
	Text   string `json:"text"`
}

// Address makes an address of a phone number or of an address in text form.
func Address(text string) (types.JID, error) {
	if strings.Contains(text, "@") {
		jid, err := types.ParseJID(text)
		if jid.Server == types.LegacyUserServer {
			jid.Server = types.DefaultUserServer
		}
		return jid.ToNonAD(), err
	}
	return types.NewJID(strings.TrimPrefix(text, "+"), types.DefaultUserServer), nil
}

// Preview is a link preview; the URL is the link as it stands in the text.
type Preview struct {
	URL         string `json:"url"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Thumbnail   []byte `json:"thumbnail,omitempty"`
}

// Around is what stands around a text.
type Around struct {
	Quote      *Quote   `json:"quote"`
	Mentions   []string `json:"mentions"`
	MentionAll bool     `json:"mention_all"`
	Preview    *Preview `json:"preview"`
	TimerS     uint32   `json:"timer_s"`        // the chat's disappearing timer
	TimerSetS  int64    `json:"timer_set_at_s"` // when it was set
}

// Text makes a text message, with what stands around it.
func Text(text string, around Around) (*waE2E.Message, error) {
	info := &waE2E.ContextInfo{}
	for _, m := range around.Mentions {
		jid, err := Address(m)
		if err != nil {
			return nil, err
		}
		info.MentionedJID = append(info.MentionedJID, jid.String())
	}
	if quote := around.Quote; quote != nil {
		jid, err := Address(quote.Sender)
		if err != nil {
			return nil, err
		}
		info.StanzaID, info.Participant = proto.String(quote.ID), proto.String(jid.String())
		info.QuotedMessage = &waE2E.Message{Conversation: proto.String(quote.Text)}
	}
	if around.MentionAll {
		info.NonJIDMentions = proto.Uint32(1)
	}
	if around.TimerS > 0 {
		info.Expiration, info.EphemeralSettingTimestamp = proto.Uint32(around.TimerS), proto.Int64(around.TimerSetS)
	}
	e := &waE2E.ExtendedTextMessage{Text: proto.String(text)}
	if p := around.Preview; p != nil {
		e.MatchedText, e.Title, e.Description = proto.String(p.URL), proto.String(p.Title), proto.String(p.Description)
		e.JPEGThumbnail = p.Thumbnail
	}
	if proto.Equal(info, &waE2E.ContextInfo{}) {
		if around.Preview == nil {
			return &waE2E.Message{Conversation: proto.String(text)}, nil
		}
		info = nil
	}
	e.ContextInfo = info
	return &waE2E.Message{ExtendedTextMessage: e}, nil
}

// described is a received message as the ledger tells it.
type described struct {
	kind, text, quoted, target string
	details                    *ledger.Details
}

// describe tells what kind of message was received, its text, which message it answers or is about, and what stands around it.
func describe(m *waE2E.Message) described {
	switch {
	case m.GetConversation() != "":
		return described{kind: kindText, text: m.GetConversation()}
	case m.ExtendedTextMessage != nil:
		e := m.GetExtendedTextMessage()
		return described{kind: kindText, text: e.GetText(), quoted: e.GetContextInfo().GetStanzaID(), details: detailsOf(e)}
	case m.ReactionMessage != nil:
		key := m.GetReactionMessage().GetKey()
		return described{kind: "reaction", text: m.GetReactionMessage().GetText(), target: key.GetID()}
	case m.ProtocolMessage != nil:
		p := m.GetProtocolMessage()
		inner := described{}
		if p.EditedMessage != nil {
			inner = describe(p.EditedMessage)
		}
		return described{
			kind: strings.ToLower(p.GetType().String()), text: inner.text, target: p.GetKey().GetID(), details: inner.details,
		}
	case m.PollUpdateMessage != nil:
		return described{kind: "vote", target: m.GetPollUpdateMessage().GetPollCreationMessageKey().GetID()}
	case m.ImageMessage != nil:
		return described{kind: "image", text: m.GetImageMessage().GetCaption()}
	case m.DocumentMessage != nil:
		return described{kind: "document", text: m.GetDocumentMessage().GetCaption()}
	default:
		return described{kind: "other"}
	}
}

// detailsOf is nil for a text with nothing around it.
func detailsOf(e *waE2E.ExtendedTextMessage) *ledger.Details {
	info := e.GetContextInfo()
	d := ledger.Details{
		Mentions: info.GetMentionedJID(), MentionAll: info.GetNonJIDMentions() == 1, TimerS: info.GetExpiration(),
		TimerSetS: info.GetEphemeralSettingTimestamp(), QuotedSender: info.GetParticipant(), URL: e.GetMatchedText(),
		Title: e.GetTitle(), Description: e.GetDescription(), Thumbnail: e.GetJPEGThumbnail(),
	}
	if len(d.Mentions) == 0 && len(d.Thumbnail) == 0 && !d.MentionAll && d.TimerS == 0 && d.QuotedSender == "" && d.URL == "" {
		return nil
	}
	return &d
}
