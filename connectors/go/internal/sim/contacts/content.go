package contacts

import (
	"strings"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
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

// Text makes a text message, with a quote and mentions where given.
func Text(text string, quote *Quote, mentions []string) (*waE2E.Message, error) {
	if quote == nil && len(mentions) == 0 {
		return &waE2E.Message{Conversation: proto.String(text)}, nil
	}
	info := &waE2E.ContextInfo{}
	for _, m := range mentions {
		jid, err := Address(m)
		if err != nil {
			return nil, err
		}
		info.MentionedJID = append(info.MentionedJID, jid.String())
	}
	if quote != nil {
		jid, err := Address(quote.Sender)
		if err != nil {
			return nil, err
		}
		info.StanzaID, info.Participant = proto.String(quote.ID), proto.String(jid.String())
		info.QuotedMessage = &waE2E.Message{Conversation: proto.String(quote.Text)}
	}
	return &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: proto.String(text), ContextInfo: info}}, nil
}

// describe tells what kind of message was received, its text, and which message it answers.
func describe(m *waE2E.Message) (kind, text, quoted string) {
	switch {
	case m.GetConversation() != "":
		return kindText, m.GetConversation(), ""
	case m.ExtendedTextMessage != nil:
		e := m.GetExtendedTextMessage()
		return kindText, e.GetText(), e.GetContextInfo().GetStanzaID()
	case m.ReactionMessage != nil:
		return "reaction", m.GetReactionMessage().GetText(), m.GetReactionMessage().GetKey().GetID()
	case m.ProtocolMessage != nil:
		p := m.GetProtocolMessage()
		_, text, _ = describe(p.GetEditedMessage())
		return strings.ToLower(p.GetType().String()), text, p.GetKey().GetID()
	case m.PollUpdateMessage != nil:
		return "vote", "", m.GetPollUpdateMessage().GetPollCreationMessageKey().GetID()
	case m.ImageMessage != nil:
		return "image", m.GetImageMessage().GetCaption(), ""
	case m.DocumentMessage != nil:
		return "document", m.GetDocumentMessage().GetCaption(), ""
	default:
		return "other", "", ""
	}
}
