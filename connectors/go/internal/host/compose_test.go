package host

import (
	"errors"
	"fmt"
	"testing"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

func TestCompose(t *testing.T) {
	client := newClient(t)
	send := func(to string, c *hostpb.OutgoingContent) (types.JID, *waE2E.Message, error) {
		return compose(&hostpb.Send{To: to, MessageId: "M", Content: c}, client)
	}
	to, m, err := send("492@c.us", &hostpb.OutgoingContent{Type: "text", Text: "hi"})
	if err != nil || to.String() != "492@s.whatsapp.net" || m.GetConversation() != "hi" {
		t.Errorf("text: %v %v %v", to, m, err)
	}
	_, m, err = send("492@s.whatsapp.net", &hostpb.OutgoingContent{
		Type: "text", Text: "@493 see x.org",
		Preview: &hostpb.LinkPreview{Url: "x.org", Title: "X", Type: "video"},
		Context: &hostpb.Context{
			Quoted:   &hostpb.Quoted{Key: &hostpb.MessageKey{Chat: "492@s.whatsapp.net", Sender: "492@s.whatsapp.net", Id: "Q"}},
			Mentions: []string{"493@s.whatsapp.net"}, MentionAll: true, EphemeralS: proto.Int32(60), EphemeralSetAtMs: proto.Int64(5000),
			ForwardingScore: proto.Int32(3),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{
		Text: proto.String("@493 see x.org"), MatchedText: proto.String("x.org"), Title: proto.String("X"),
		PreviewType: waE2E.ExtendedTextMessage_VIDEO.Enum(),
		ContextInfo: &waE2E.ContextInfo{
			StanzaID: proto.String("Q"), Participant: proto.String("492@s.whatsapp.net"), QuotedMessage: &waE2E.Message{Conversation: proto.String("")},
			QuotedType: waE2E.ContextInfo_EXPLICIT.Enum(), MentionedJID: []string{"493@s.whatsapp.net"}, NonJIDMentions: proto.Uint32(1),
			IsForwarded: proto.Bool(true), ForwardingScore: proto.Uint32(3), Expiration: proto.Uint32(60), EphemeralSettingTimestamp: proto.Int64(5),
		},
	}}
	if !proto.Equal(m, want) {
		t.Errorf("rich text\ngot  %v\nwant %v", m, want)
	}
	target := &hostpb.MessageKey{Id: "T", Sender: "493@s.whatsapp.net"}
	_, m, err = send("1-2@g.us", &hostpb.OutgoingContent{Type: "reaction", Reaction: "❤\ufe0f", Target: target})
	if err != nil || m.GetReactionMessage().GetText() != "❤" || m.GetReactionMessage().GetKey().GetParticipant() != "493@s.whatsapp.net" {
		t.Errorf("reaction: %v %v", m, err)
	}
	theirs := &hostpb.OutgoingContent{Type: "reaction", Reaction: "x", Target: &hostpb.MessageKey{Id: "T"}}
	_, m, err = send("492@s.whatsapp.net", theirs)
	if key := m.GetReactionMessage().GetKey(); err != nil || key.GetFromMe() || key.GetID() != "T" {
		t.Errorf("a reaction to the other's message in a chat of two: %v %v", m, err)
	}
	_, m, err = send("1-2@g.us", &hostpb.OutgoingContent{Type: "revoke", Target: &hostpb.MessageKey{Id: "T", FromMe: true}})
	if err != nil || m.GetProtocolMessage().GetType() != waE2E.ProtocolMessage_REVOKE || !m.GetProtocolMessage().GetKey().GetFromMe() {
		t.Errorf("revoke: %v %v", m, err)
	}
	_, m, err = send("492@s.whatsapp.net", &hostpb.OutgoingContent{Type: "edit", Text: "new", Target: &hostpb.MessageKey{Id: "T", FromMe: true}})
	if err != nil || m.GetEditedMessage().GetMessage().GetProtocolMessage().GetEditedMessage().GetConversation() != "new" {
		t.Errorf("edit: %v %v", m, err)
	}
	for name, c := range map[string]*hostpb.OutgoingContent{
		"nothing": nil, "no type": {}, "a type that cannot be sent": {Type: "poll"}, "empty text": {Type: "text"},
		"edit without target": {Type: "edit", Text: "x"}, "edit without text": {Type: "edit", Target: target},
		"revoke without target": {Type: "revoke"}, "reaction without target": {Type: "reaction"},
		"preview of another text": {Type: "text", Text: "x", Preview: &hostpb.LinkPreview{Url: "y.org"}},
		"quote without id":        {Type: "text", Text: "x", Context: &hostpb.Context{Quoted: &hostpb.Quoted{}}},
		"mention of nobody":       {Type: "text", Text: "x", Context: &hostpb.Context{Mentions: []string{""}}},
	} {
		if _, m, err := send("492@s.whatsapp.net", c); err == nil {
			t.Errorf("%s became %v", name, m)
		}
	}
	for _, to := range []string{"", "@", "@s.whatsapp.net", "492", "492:3@s.whatsapp.net"} {
		if jid, _, err := send(to, &hostpb.OutgoingContent{Type: "text", Text: "x"}); err == nil {
			t.Errorf("%q became %v", to, jid)
		}
	}
}

func TestOutcomes(t *testing.T) {
	for _, tc := range []struct {
		committed bool
		err       error
		result    hostpb.SendFinished_Outcome
		kind      string
		code      int32
	}{
		{true, nil, hostpb.SendFinished_ACKED, "", 0},
		{true, fmt.Errorf("%w %d", whatsmeow.ErrServerReturnedError, 463), hostpb.SendFinished_REJECTED, "server", 463},
		{true, fmt.Errorf("%w %d", whatsmeow.ErrServerReturnedError, 479), hostpb.SendFinished_REJECTED, "server", 479},
		{true, errNoAck, hostpb.SendFinished_NO_ACK, "no_ack", 0},
		{true, whatsmeow.ErrNotConnected, hostpb.SendFinished_NO_ACK, "no_ack", 0},
		{false, errors.New("no LID found for 9@s.whatsapp.net from server"), hostpb.SendFinished_REJECTED, "not_on_whatsapp", 0},
		{false, fmt.Errorf("%w x", whatsmeow.ErrUnknownServer), hostpb.SendFinished_REJECTED, "invalid", 0},
		{false, whatsmeow.ErrBroadcastListUnsupported, hostpb.SendFinished_REJECTED, "invalid", 0},
		{false, whatsmeow.ErrNotLoggedIn, hostpb.SendFinished_NOT_SENT, "not_logged_in", 0},
		{false, whatsmeow.ErrNotConnected, hostpb.SendFinished_NOT_SENT, "offline", 0},
		{false, errNotPrepared, hostpb.SendFinished_NOT_SENT, "client", 0},
		{false, &whatsmeow.IQError{Code: 429}, hostpb.SendFinished_NOT_SENT, "server", 429},
	} {
		if o := judgeSend(tc.committed, tc.err); o.result != tc.result || o.kind != tc.kind || o.code != tc.code {
			t.Errorf("%v (committed %v): %v %s %d", tc.err, tc.committed, o.result, o.kind, o.code)
		}
	}
}

func newClient(t *testing.T) *whatsmeow.Client {
	t.Helper()
	st, err := signalstore.New(nil, signalstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return whatsmeow.NewClient(st.Device(), nil)
}
