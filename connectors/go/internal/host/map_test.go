package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"wharf/connectors/internal/hostpb"
)

var (
	quiet   = slog.New(slog.NewTextHandler(io.Discard, nil))
	ourPN   = types.NewJID("491", types.DefaultUserServer)
	ourLID  = types.NewJID("100491", types.HiddenUserServer)
	herPN   = types.NewJID("492", types.DefaultUserServer)
	herLID  = types.NewJID("100492", types.HiddenUserServer)
	aGroup  = types.NewJID("123-456", types.GroupServer)
	himPN   = types.NewJID("493", types.DefaultUserServer)
	aMoment = time.Unix(1_700_000_000, 0)
)

// phoneBook is a directory that knows us and her.
type phoneBook struct{}

func (phoneBook) Self() []types.JID { return []types.JID{ourPN, ourLID} }

func (phoneBook) AltJID(jid types.JID) types.JID {
	for _, pair := range [][2]types.JID{{ourPN, ourLID}, {herPN, herLID}} {
		for i, j := range pair {
			if j == jid {
				return pair[1-i]
			}
		}
	}
	return types.EmptyJID
}

func mapped(t *testing.T, m *waE2E.Message) *hostpb.Content {
	t.Helper()
	return contentMapper{chat: herLID, sender: herLID, self: phoneBook{}.Self(), log: quiet}.content(m)
}

// contentTypeSymbols are the ContentType symbols of the schema.
var contentTypeSymbols = []string{
	"text", "image", "video", "gif", "video_note", "audio", "voice", "document", "sticker", "sticker_pack", "album",
	"location", "live_location", "contact", "poll", "poll_vote", "poll_update", "event", "event_response", "reaction",
	"comment", "edit", "revoke", "pin", "keep", "disappearing_timer", "list", "buttons", "interactive", "choice_reply",
	"template", "product", "order", "payment", "group_invite", "newsletter_invite", "call_log", "status_activity",
	"ai_response", "phone_number", "placeholder", "system", "unknown",
}

// Fields of the present library that are known to have no type of their own.
var unnamedFields = []protoreflect.Name{
	"chat", "messageHistoryBundle", "messageHistoryNotice", "musicMessage", "conditionalRevealMessage", "secretEncryptedMessage",
}

// Every field of waE2E.Message becomes a named type, or `unknown` with its raw bytes: never nothing.
func TestEveryFieldBecomesSomething(t *testing.T) {
	fields := (&waE2E.Message{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		m := &waE2E.Message{}
		switch fd.Kind() {
		case protoreflect.StringKind:
			m.ProtoReflect().Set(fd, protoreflect.ValueOfString("x"))
		case protoreflect.MessageKind:
			m.ProtoReflect().Set(fd, m.ProtoReflect().NewField(fd))
		default:
			t.Fatalf("%s is a %s", fd.Name(), fd.Kind())
		}
		c := mapped(t, m)
		if !slices.Contains(contentTypeSymbols, c.Type) {
			t.Errorf("%s became %q, which is no ContentType", fd.Name(), c.Type)
		}
		if besideFields[fd.Name()] {
			continue
		}
		if wrapperFields[fd.Name()] {
			checkWrapper(t, fd)
			continue
		}
		if c.Type == "unknown" && !slices.Contains(unnamedFields, fd.Name()) {
			t.Errorf("%s is new in the library: give it a type, or name it here", fd.Name())
		}
		if c.Type == "unknown" && (c.Raw == nil || !slices.Equal(c.Raw.FieldNumbers, []int32{int32(fd.Number())})) {
			t.Errorf("%s is unknown without raw: %v", fd.Name(), c.Raw)
		}
	}
	for name := range contentTypes {
		if fields.ByName(name) == nil {
			t.Errorf("the table has %s, the library has not", name)
		}
	}
	for name := range wrapperFields {
		if fields.ByName(name) == nil {
			t.Errorf("the table has wrapper %s, the library has not", name)
		}
	}
}

// checkWrapper: a text inside a wrapper is found, an empty wrapper is unknown.
func checkWrapper(t *testing.T, fd protoreflect.FieldDescriptor) {
	t.Helper()
	m := &waE2E.Message{}
	outer := m.ProtoReflect().NewField(fd).Message()
	inner := &waE2E.Message{Conversation: proto.String("inside")}
	outer.Set(outer.Descriptor().Fields().ByName("message"), protoreflect.ValueOfMessage(inner.ProtoReflect()))
	m.ProtoReflect().Set(fd, protoreflect.ValueOfMessage(outer))
	c := mapped(t, m)
	if c.Type != "text" || c.GetText() != "inside" || !slices.Equal(c.Wrappers, []string{string(fd.Name())}) {
		t.Errorf("%s{text} became %v", fd.Name(), c)
	}
	empty := &waE2E.Message{}
	empty.ProtoReflect().Set(fd, empty.ProtoReflect().NewField(fd))
	if c := mapped(t, empty); c.Type != "unknown" || c.Raw == nil {
		t.Errorf("empty %s became %v", fd.Name(), c)
	}
}

func TestContents(t *testing.T) {
	key := &waCommon.MessageKey{RemoteJID: proto.String(ourLID.String()), FromMe: proto.Bool(true), ID: proto.String("T")}
	text := &waE2E.Message{Conversation: proto.String("new")}
	edit := &waE2E.ProtocolMessage{Type: waE2E.ProtocolMessage_MESSAGE_EDIT.Enum(), Key: key, EditedMessage: text, TimestampMS: proto.Int64(5)}
	hers := &hostpb.MessageKey{Chat: herLID.String(), Sender: herLID.String(), Id: "T"}
	ours := &hostpb.MessageKey{Chat: herLID.String(), Sender: ourLID.String(), FromMe: true, Id: "T"}
	for name, tc := range map[string]struct {
		in   *waE2E.Message
		want *hostpb.Content
	}{
		"text": {text, &hostpb.Content{Type: "text", Text: proto.String("new")}},
		"quote": {
			&waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: proto.String("yes"), ContextInfo: &waE2E.ContextInfo{
				StanzaID: proto.String("Q"), Participant: proto.String("491:3@s.whatsapp.net"),
				QuotedMessage: &waE2E.Message{ImageMessage: &waE2E.ImageMessage{Caption: proto.String("look")}},
				MentionedJID:  []string{"493@s.whatsapp.net"}, NonJIDMentions: proto.Uint32(1), IsForwarded: proto.Bool(true),
				ForwardingScore: proto.Uint32(2), Expiration: proto.Uint32(86400), EphemeralSettingTimestamp: proto.Int64(7),
			}}},
			&hostpb.Content{Type: "text", Text: proto.String("yes"), Context: &hostpb.Context{
				Quoted: &hostpb.Quoted{
					Key:  &hostpb.MessageKey{Chat: herLID.String(), Sender: ourPN.String(), FromMe: true, Id: "Q"},
					Type: "image", Text: proto.String("look"),
				},
				Mentions: []string{"493@s.whatsapp.net"}, MentionAll: true, Forwarded: true, ForwardingScore: proto.Int32(2),
				EphemeralS: proto.Int32(86400), EphemeralSetAtMs: proto.Int64(7000),
			}},
		},
		"preview": {
			&waE2E.Message{ExtendedTextMessage: &waE2E.ExtendedTextMessage{Text: proto.String("see x.org"), MatchedText: proto.String("x.org"), Title: proto.String("X")}},
			&hostpb.Content{Type: "text", Text: proto.String("see x.org"), Preview: &hostpb.LinkPreview{Url: "x.org", Title: "X", Type: "none"}},
		},
		"wrapped edit": {
			&waE2E.Message{EditedMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{ProtocolMessage: edit}}},
			&hostpb.Content{Type: "edit", InnerType: "text", Text: proto.String("new"), Target: hers, EditedAtMs: 5, Wrappers: []string{"editedMessage"}},
		},
		"bare edit": {
			&waE2E.Message{ProtocolMessage: edit},
			&hostpb.Content{Type: "edit", InnerType: "text", Text: proto.String("new"), Target: hers, EditedAtMs: 5},
		},
		"revoke": {
			&waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: waE2E.ProtocolMessage_REVOKE.Enum(), Key: key}},
			&hostpb.Content{Type: "revoke", Target: hers, RevokedBy: "sender"},
		},
		"reaction to ours": {
			&waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Text: proto.String("👍"), Key: &waCommon.MessageKey{FromMe: proto.Bool(false), ID: proto.String("T")}}},
			&hostpb.Content{Type: "reaction", Reaction: proto.String("👍"), Target: ours},
		},
		"reaction taken back": {
			&waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Text: proto.String(""), Key: key}},
			&hostpb.Content{Type: "reaction", Reaction: proto.String(""), Target: hers},
		},
		"timer": {
			&waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{Type: waE2E.ProtocolMessage_EPHEMERAL_SETTING.Enum(), EphemeralExpiration: proto.Uint32(60), EphemeralSettingTimestamp: proto.Int64(7)}},
			&hostpb.Content{Type: "disappearing_timer", TimerS: proto.Int32(60), Context: &hostpb.Context{EphemeralSetAtMs: proto.Int64(7000)}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mapped(t, tc.in); !proto.Equal(got, tc.want) {
				t.Errorf("got  %v\nwant %v", got, tc.want)
			}
		})
	}
}

func TestFlagsChooseTheType(t *testing.T) {
	for want, m := range map[string]*waE2E.Message{
		"gif":   {VideoMessage: &waE2E.VideoMessage{GifPlayback: proto.Bool(true)}},
		"voice": {AudioMessage: &waE2E.AudioMessage{PTT: proto.Bool(true)}},
	} {
		if c := mapped(t, m); c.Type != want || c.Raw == nil {
			t.Errorf("%s became %s", want, c.Type)
		}
	}
	image := &waE2E.Message{ImageMessage: &waE2E.ImageMessage{Caption: proto.String("c")}}
	once := &waE2E.Message{ViewOnceMessageV2: &waE2E.FutureProofMessage{Message: image}}
	if c := mapped(t, once); c.Type != "image" || c.GetText() != "c" || !c.Context.GetViewOnce() {
		t.Errorf("view once: %v", c)
	}
	image.ImageMessage.ViewOnce = proto.Bool(true)
	if c := mapped(t, image); !c.Context.GetViewOnce() {
		t.Errorf("view once: %v", c)
	}
}

// A field of a later version of the library: nothing is known of it, and its bytes survive.
func TestFutureField(t *testing.T) {
	b := protowire.AppendTag(nil, 500, protowire.BytesType)
	b = protowire.AppendBytes(b, []byte("future"))
	m := &waE2E.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	c := mapped(t, m)
	if c.Type != "unknown" || !bytes.Equal(c.Raw.Bytes, b) || !slices.Equal(c.Raw.FieldNumbers, []int32{500}) {
		t.Errorf("got %v", c)
	}
}

// Keys are not published, wherever they are.
func TestRawHasNoKeys(t *testing.T) {
	secret := []byte("very secret")
	inner := &waE2E.Message{
		PollCreationMessage: &waE2E.PollCreationMessage{Name: proto.String("?")},
		MessageContextInfo:  &waE2E.MessageContextInfo{MessageSecret: secret},
	}
	for name, m := range map[string]*waE2E.Message{
		"wrapped poll": {
			MessageContextInfo:           &waE2E.MessageContextInfo{MessageSecret: secret},
			SenderKeyDistributionMessage: &waE2E.SenderKeyDistributionMessage{AxolotlSenderKeyDistributionMessage: secret},
			EphemeralMessage:             &waE2E.FutureProofMessage{Message: inner},
		},
		"key share": {ProtocolMessage: &waE2E.ProtocolMessage{
			Type: waE2E.ProtocolMessage_APP_STATE_SYNC_KEY_SHARE.Enum(),
			AppStateSyncKeyShare: &waE2E.AppStateSyncKeyShare{Keys: []*waE2E.AppStateSyncKey{{
				KeyData: &waE2E.AppStateSyncKeyData{KeyData: secret},
			}}},
		}},
		"root key": {RootSecretDistributeMessage: &waE2E.RootSecretDistributeMessage{}},
	} {
		before := proto.Clone(m)
		c := mapped(t, m)
		if c.Raw == nil || bytes.Contains(c.Raw.Bytes, secret) {
			t.Errorf("%s: raw %q", name, c.Raw.GetBytes())
		}
		if !proto.Equal(before, m) {
			t.Errorf("%s: the message itself was changed", name)
		}
	}
}

// Without secrets, raw is what was received, although whatsmeow has changed the message.
func TestRawIsWhatWasReceived(t *testing.T) {
	m := &waE2E.Message{
		MessageContextInfo: &waE2E.MessageContextInfo{MessageAddOnDurationInSecs: proto.Uint32(9)},
		EphemeralMessage: &waE2E.FutureProofMessage{Message: &waE2E.Message{
			LocationMessage: &waE2E.LocationMessage{Name: proto.String("here")}}},
	}
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	evt := (&events.Message{RawMessage: m}).UnwrapRaw()
	e := mapMessage(phoneBook{}, evt, nil, false, quiet).GetMessage()
	if e.Content.Type != "location" || !bytes.Equal(e.Content.Raw.Bytes, want) {
		t.Errorf("type %s, %d bytes instead of %d", e.Content.Type, len(e.Content.Raw.Bytes), len(want))
	}
}

func source(chat, sender types.JID, fromMe bool) types.MessageSource {
	return types.MessageSource{Chat: chat, Sender: sender, IsFromMe: fromMe, IsGroup: chat.Server == types.GroupServer}
}

func TestMessages(t *testing.T) {
	her := herLID
	her.Device = 4
	direct := source(herLID, her, false)
	direct.SenderAlt, direct.AddressingMode = herPN, types.AddressingModeLID
	m := mapMessage(phoneBook{}, &events.Message{
		Info:    types.MessageInfo{MessageSource: direct, ID: "A", PushName: "Her", Timestamp: aMoment, Type: "text"},
		Message: &waE2E.Message{Conversation: proto.String("hi")}, RawMessage: &waE2E.Message{Conversation: proto.String("hi")},
	}, nil, false, quiet).GetMessage()
	want := &hostpb.IncomingMessage{
		Key:    &hostpb.MessageKey{Chat: herLID.String(), Sender: herLID.String(), Id: "A"},
		Sender: &hostpb.Identity{Jid: herLID.String(), Lid: herLID.String(), Pn: herPN.String()},
		Chat:   &hostpb.Identity{Jid: herLID.String(), Lid: herLID.String(), Pn: herPN.String()}, SenderDevice: 4,
		AddressingMode: "lid", ChatKind: "user", PushName: "Her", OccurredAtMs: aMoment.UnixMilli(), StanzaType: "text",
		Content: &hostpb.Content{Type: "text", Text: proto.String("hi")},
	}
	if !proto.Equal(m, want) {
		t.Errorf("direct\ngot  %v\nwant %v", m, want)
	}
	list := source(types.NewJID("77", types.BroadcastServer), herPN, false)
	list.IsGroup = true
	b := mapMessage(phoneBook{}, &events.Message{Info: types.MessageInfo{MessageSource: list, ID: "B"}, RawMessage: &waE2E.Message{}}, nil, false, quiet).GetMessage()
	if b.Key.Chat != herPN.String() || b.ChatKind != "user" {
		t.Errorf("a list message belongs to the chat with its sender: %v", b.Key)
	}
	s := mapMessage(phoneBook{}, &events.Message{
		Info: types.MessageInfo{MessageSource: source(types.StatusBroadcastJID, herPN, false), ID: "S"}, RawMessage: &waE2E.Message{},
	}, nil, false, quiet).GetMessage()
	if s.ChatKind != "status" {
		t.Errorf("status: %v", s)
	}
	n := mapMessage(phoneBook{}, &events.Message{
		Info:           types.MessageInfo{MessageSource: source(types.NewJID("5", types.NewsletterServer), types.NewJID("5", types.NewsletterServer), false), ID: "N", ServerID: 9},
		RawMessage:     &waE2E.Message{Conversation: proto.String("new")},
		NewsletterMeta: &events.NewsletterMessageMeta{EditTS: aMoment},
	}, nil, false, quiet).GetMessage()
	if n.Content.Type != "edit" || n.Content.InnerType != "text" || n.NewsletterEditedAtMs != aMoment.UnixMilli() || n.Content.Target.Id != "N" || n.Key.ServerId != 9 {
		t.Errorf("newsletter edit: %v", n)
	}
	g := mapMessage(phoneBook{}, &events.Message{
		Info: types.MessageInfo{MessageSource: source(aGroup, himPN, false), ID: "G"},
		RawMessage: &waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Text: proto.String("x"), Key: &waCommon.MessageKey{
			ID: proto.String("T"), Participant: proto.String("491:2@s.whatsapp.net")}}},
	}, nil, false, quiet).GetMessage()
	if !g.Content.Target.FromMe || g.Content.Target.Sender != ourPN.String() || g.ChatKind != "group" {
		t.Errorf("group reaction to ours: %v", g)
	}
}

// Edits and reactions that are encrypted with a message's secret: with it their content, without it the raw message.
func TestSecretContents(t *testing.T) {
	target := &waCommon.MessageKey{FromMe: proto.Bool(true), ID: proto.String("T")}
	info := types.MessageInfo{MessageSource: source(herLID, herLID, false), ID: "E"}
	edit := &waE2E.Message{SecretEncryptedMessage: &waE2E.SecretEncryptedMessage{
		SecretEncType: waE2E.SecretEncryptedMessage_MESSAGE_EDIT.Enum(), TargetMessageKey: target, EncPayload: []byte{1},
	}}
	reaction := &waE2E.Message{EncReactionMessage: &waE2E.EncReactionMessage{TargetMessageKey: target, EncPayload: []byte{1}}}
	one := func(m, secret *waE2E.Message) *hostpb.Content {
		return mapMessage(phoneBook{}, &events.Message{Info: info, RawMessage: m}, secret, false, quiet).GetMessage().Content
	}
	if c := one(edit, nil); c.Type != "edit" || c.Target.GetId() != "T" || len(c.Raw.GetBytes()) == 0 {
		t.Errorf("sealed edit: %v", c)
	}
	if c := one(edit, &waE2E.Message{Conversation: proto.String("new")}); c.Type != "edit" || c.InnerType != "text" || c.GetText() != "new" || c.Raw != nil {
		t.Errorf("edit: %v", c)
	}
	if c := one(edit, &waE2E.Message{ImageMessage: &waE2E.ImageMessage{Caption: proto.String("new")}}); c.InnerType != "image" || c.GetText() != "new" || c.Raw == nil {
		t.Errorf("edit of an image: %v", c)
	}
	if c := one(reaction, nil); c.Type != "reaction" || c.Reaction != nil || len(c.Raw.GetBytes()) == 0 {
		t.Errorf("sealed reaction: %v", c)
	}
	if c := one(reaction, &waE2E.Message{ReactionMessage: &waE2E.ReactionMessage{Text: proto.String("x")}}); c.GetReaction() != "x" || c.Raw != nil {
		t.Errorf("reaction: %v", c)
	}
}

func TestUndecryptables(t *testing.T) {
	for want, evt := range map[string]*events.UndecryptableMessage{
		"decrypt_failed": {DecryptFailMode: events.DecryptFailHide},
		"no_ciphertext":  {IsUnavailable: true},
		"view_once":      {IsUnavailable: true, UnavailableType: events.UnavailableTypeViewOnce},
	} {
		evt.Info = types.MessageInfo{MessageSource: source(herLID, herLID, false), ID: "U", Timestamp: aMoment}
		u := mapUndecryptable(phoneBook{}, evt).GetUndecryptable()
		if u.Reason != want || u.Key.Id != "U" || u.Unavailable != evt.IsUnavailable || u.DecryptFailMode != string(evt.DecryptFailMode) {
			t.Errorf("%s: %v", want, u)
		}
	}
}

func TestReceipts(t *testing.T) {
	r := mapReceipt(phoneBook{}, &events.Receipt{
		MessageSource: source(aGroup, herPN, false), MessageIDs: []string{"A", "B"}, Timestamp: aMoment, Type: types.ReceiptTypeRead,
	}).GetReceipt()
	if r.WireType != "read" || len(r.MessageIds) != 2 || r.Participant.Lid != herLID.String() || r.Chat.Jid != aGroup.String() || r.OccurredAtMs != aMoment.UnixMilli() {
		t.Errorf("receipt %v", r)
	}
}

// Events without a record of their own come with their fields, without nodes and bytes.
func TestOtherEvents(t *testing.T) {
	o := mapOther(&events.CallOffer{BasicCallMeta: types.BasicCallMeta{CallID: "C", From: herPN, Timestamp: aMoment}}).GetOther()
	var fields map[string]any
	if err := json.Unmarshal([]byte(o.Json), &fields); err != nil {
		t.Fatal(err)
	}
	if o.Type != "CallOffer" || fields["CallID"] != "C" || fields["Data"] != nil || o.OccurredAtMs != aMoment.UnixMilli() || o.Identity == "" {
		t.Errorf("call %v", o)
	}
	e := mapOther(&events.AppStateSyncError{Error: errors.New("broken")}).GetOther()
	if err := json.Unmarshal([]byte(e.Json), &fields); err != nil {
		t.Fatal(err)
	}
	if fields["Error"] != "broken" {
		t.Errorf("error %v", e)
	}
	for _, evt := range []any{&events.Presence{}, &events.ChatPresence{}, &events.GroupInfo{}, &events.Mute{}, &events.HistorySync{}, &events.UnknownCallEvent{}, &events.QRScannedWithoutMultidevice{}} {
		if o := mapOther(evt).GetOther(); o.Type == "" || !json.Valid([]byte(o.Json)) {
			t.Errorf("%T became %v", evt, o)
		}
	}
}

func TestLoneSenderKey(t *testing.T) {
	skdm := &waE2E.SenderKeyDistributionMessage{GroupID: proto.String("g")}
	if !onlySenderKey(&events.Message{RawMessage: &waE2E.Message{SenderKeyDistributionMessage: skdm}}) {
		t.Error("a lone sender key is no event")
	}
	if onlySenderKey(&events.Message{RawMessage: &waE2E.Message{SenderKeyDistributionMessage: skdm, Conversation: proto.String("x")}}) {
		t.Error("a text beside a sender key is one")
	}
	if onlySenderKey(&events.Message{RawMessage: &waE2E.Message{}}) {
		t.Error("an empty message is one: nothing is dropped silently")
	}
}
