package host

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"

	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"wharf/connectors/internal/hostpb"
)

// whatsmeow's events into the protocol's. One mapper per family.

// directory tells the other address of a user.
type directory interface {
	AltJID(jid types.JID) types.JID
	Self() []types.JID
}

// identity of a user or chat; alt is the other address if the event told it.
func identity(dir directory, jid, alt types.JID) *hostpb.Identity {
	if jid.IsEmpty() {
		return nil
	}
	jid = jid.ToNonAD()
	out := &hostpb.Identity{Jid: jid.String()}
	if alt.IsEmpty() {
		alt = dir.AltJID(jid)
	}
	for _, j := range []types.JID{jid, alt.ToNonAD()} {
		switch j.Server {
		case types.HiddenUserServer:
			out.Lid = j.String()
		case types.DefaultUserServer:
			out.Pn = j.String()
		}
	}
	return out
}

func chatKind(chat types.JID) string {
	switch chat.Server {
	case types.DefaultUserServer, types.HiddenUserServer, types.HostedServer, types.HostedLIDServer:
		if chat.IsBot() {
			return "bot"
		}
		return "user"
	case types.GroupServer:
		return "group"
	case types.BroadcastServer:
		if chat == types.StatusBroadcastJID {
			return "status"
		}
		return "broadcast"
	case types.NewsletterServer:
		return "newsletter"
	case types.BotServer:
		return "bot"
	}
	return "unknown"
}

// place is where a message belongs: one from a broadcast list belongs to the chat with its sender.
func place(src *types.MessageSource) types.JID {
	if src.IsIncomingBroadcast() && !src.IsFromMe {
		return src.Sender.ToNonAD()
	}
	return src.Chat.ToNonAD()
}

// counterpart is the other address of the chat of a direct message.
func counterpart(src *types.MessageSource, chat types.JID) types.JID {
	switch {
	case src.IsFromMe:
		return src.RecipientAlt
	case chat == src.Sender.ToNonAD():
		return src.SenderAlt
	}
	return types.EmptyJID
}

func messageKey(info *types.MessageInfo) *hostpb.MessageKey {
	return &hostpb.MessageKey{
		Chat: place(&info.MessageSource).String(), Sender: info.Sender.ToNonAD().String(), FromMe: info.IsFromMe,
		Id: info.ID, ServerId: int64(info.ServerID),
	}
}

// mapMessage maps a message; revealed is what its secret part holds, nil if there is none or it cannot be read.
func mapMessage(dir directory, evt *events.Message, revealed *waE2E.Message, keepRaw bool, log *slog.Logger) *hostpb.Event {
	info := &evt.Info
	chat := place(&info.MessageSource)
	mapper := contentMapper{
		chat: chat, sender: info.Sender, fromMe: info.IsFromMe, self: dir.Self(), keepRaw: keepRaw, log: log,
	}
	m := &hostpb.IncomingMessage{
		Key: messageKey(info), Sender: identity(dir, info.Sender, info.SenderAlt),
		Chat:         identity(dir, chat, counterpart(&info.MessageSource, chat)),
		SenderDevice: uint32(info.Sender.Device), AddressingMode: string(info.AddressingMode), ChatKind: chatKind(chat),
		PushName: info.PushName, OccurredAtMs: millis(info.Timestamp), StanzaType: info.Type, MediaType: info.MediaType,
		Category: info.Category, Edit: string(info.Edit), RetryCount: uint32(max(evt.RetryCount, 0)),
		UnavailableRequestId: evt.UnavailableRequestID, FromMe: info.IsFromMe, Content: mapper.content(exact(evt)),
	}
	if revealed != nil {
		mapper.reveal(m.Content, revealed)
	}
	if info.VerifiedName != nil {
		m.VerifiedName = info.VerifiedName.Details.GetVerifiedName()
	}
	if info.IsFromMe && !info.IsGroup {
		m.Recipient = identity(dir, chat, info.RecipientAlt)
	}
	if evt.NewsletterMeta != nil && !evt.NewsletterMeta.EditTS.IsZero() && evt.NewsletterMeta.EditTS.Unix() > 0 {
		m.NewsletterEditedAtMs = millis(evt.NewsletterMeta.EditTS)
		m.Content.InnerType, m.Content.Type = m.Content.Type, "edit"
		m.Content.Target, m.Content.EditedAtMs = m.Key, m.NewsletterEditedAtMs
	}
	e := &hostpb.Event{Body: &hostpb.Event_Message{Message: m}}
	if evt.SourceWebMsg != nil && evt.UnavailableRequestID == "" {
		e.Origin = hostpb.Origin_HISTORY
	}
	return e
}

// exact is the message as it was received: whatsmeow copies the outer messageContextInfo into the inner message.
func exact(evt *events.Message) *waE2E.Message {
	raw := evt.RawMessage
	if raw == nil {
		raw = evt.Message
	}
	if raw == nil {
		return &waE2E.Message{}
	}
	if evt.Message != nil && evt.Message != raw && evt.Message.MessageContextInfo == raw.MessageContextInfo {
		evt.Message.MessageContextInfo = nil
	}
	return raw
}

// onlySenderKey: nothing but keys for a group, which is no event.
func onlySenderKey(evt *events.Message) bool {
	m := exact(evt)
	return len(contentFields(m)) == 0 && len(m.ProtoReflect().GetUnknown()) == 0 &&
		(m.SenderKeyDistributionMessage != nil || m.FastRatchetKeySenderKeyDistributionMessage != nil)
}

func mapUndecryptable(dir directory, evt *events.UndecryptableMessage) *hostpb.Event {
	info := &evt.Info
	chat := place(&info.MessageSource)
	reason := "decrypt_failed"
	switch {
	case evt.UnavailableType == events.UnavailableTypeViewOnce:
		reason = "view_once"
	case evt.IsUnavailable:
		reason = "no_ciphertext"
	}
	return &hostpb.Event{Body: &hostpb.Event_Undecryptable{Undecryptable: &hostpb.Undecryptable{
		Key: messageKey(info), Sender: identity(dir, info.Sender, info.SenderAlt),
		Chat:         identity(dir, chat, counterpart(&info.MessageSource, chat)),
		SenderDevice: uint32(info.Sender.Device), OccurredAtMs: millis(info.Timestamp), Reason: reason,
		Unavailable: evt.IsUnavailable, DecryptFailMode: string(evt.DecryptFailMode), PushName: info.PushName,
		ChatKind: chatKind(chat), AddressingMode: string(info.AddressingMode),
	}}}
}

func mapReceipt(dir directory, evt *events.Receipt) *hostpb.Event {
	r := &hostpb.Receipt{
		Chat:        identity(dir, place(&evt.MessageSource), types.EmptyJID),
		Participant: identity(dir, evt.Sender, evt.SenderAlt), ParticipantDevice: uint32(evt.Sender.Device),
		MessageIds: evt.MessageIDs, WireType: string(evt.Type), OccurredAtMs: millis(evt.Timestamp), FromMe: evt.IsFromMe,
	}
	if !evt.MessageSender.IsEmpty() {
		r.MessageSender = evt.MessageSender.ToNonAD().String()
	}
	return &hostpb.Event{Body: &hostpb.Event_Receipt{Receipt: r}}
}

func mapTyping(dir directory, evt *events.ChatPresence) *hostpb.Event {
	typing := string(evt.State)
	if evt.State == types.ChatPresenceComposing && evt.Media == types.ChatPresenceMediaAudio {
		typing = "recording"
	}
	return &hostpb.Event{Body: &hostpb.Event_Chat{Chat: &hostpb.ChatEvent{
		Kind: "typing", Chat: identity(dir, evt.Chat, types.EmptyJID), Actor: identity(dir, evt.Sender, evt.SenderAlt), Typing: typing,
	}}}
}

func mapPresence(dir directory, evt *events.Presence) *hostpb.Event {
	return &hostpb.Event{Body: &hostpb.Event_Presence{Presence: &hostpb.ContactPresence{
		Contact: identity(dir, evt.From, types.EmptyJID), Available: !evt.Unavailable, LastSeenMs: millis(evt.LastSeen),
	}}}
}

// mapTimelock: the account may begin no new chats until its end.
func mapTimelock(evt *events.NotifyAccountReachoutTimelock) *hostpb.Event {
	return &hostpb.Event{Body: &hostpb.Event_Limit{Limit: &hostpb.LimitNotice{
		Kind: "timelock", Active: evt.IsActive, UntilMs: millis(evt.TimeEnforcementEnds.Time), Reason: evt.EnforcementType,
		OccurredAtMs: millis(evt.Mex.Timestamp),
	}}}
}

// lostEvent reports a message stanza that whatsmeow answered without a word.
func lostEvent(st *stanza, now time.Time) *hostpb.Event {
	b, err := json.Marshal(map[string]string{
		"id": st.key.id, "from": st.key.from, "participant": st.key.participant, "tag": st.tag,
	})
	if err != nil {
		b = []byte("{}") // strings always encode
	}
	return &hostpb.Event{ReceivedAtMs: now.UnixMilli(), Body: &hostpb.Event_Other{Other: &hostpb.OtherEvent{
		Type: "message.unparsed", Json: string(b), OccurredAtMs: now.UnixMilli(),
		Identity: strings.Join([]string{st.key.from, st.key.participant, st.key.id}, "/"),
	}}}
}

// mapOther maps an event whose family has no record yet. Raw nodes and byte strings are left out: they may hold keys.
func mapOther(evt any) *hostpb.Event {
	v := reflect.Indirect(reflect.ValueOf(evt))
	name := v.Type().Name()
	other := &hostpb.OtherEvent{Type: name}
	fields := make(map[string]any)
	if v.Kind() == reflect.Struct {
		collect(v, fields)
		other.OccurredAtMs = occurredAt(v)
		other.Identity = identifying(v)
	}
	b, err := json.Marshal(fields)
	if err != nil {
		b, err = json.Marshal(map[string]string{"unprintable": err.Error()})
	}
	if err != nil {
		b = []byte("{}") // two strings always encode
	}
	other.Json = string(b)
	return &hostpb.Event{Body: &hostpb.Event_Other{Other: other}}
}

var nodeType = reflect.TypeOf(&waBinary.Node{})

// collect flattens embedded structs as encoding/json would, without nodes and bytes.
func collect(v reflect.Value, into map[string]any) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Type == nodeType || f.Type == nodeType.Elem() || f.Type == reflect.TypeOf([]byte(nil)) {
			continue
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			collect(v.Field(i), into)
			continue
		}
		value := v.Field(i).Interface()
		if err, ok := value.(error); ok {
			value = err.Error()
		}
		into[f.Name] = value
	}
}

func occurredAt(v reflect.Value) int64 {
	if f := v.FieldByName("Timestamp"); f.IsValid() {
		if t, ok := f.Interface().(time.Time); ok {
			return millis(t)
		}
	}
	return 0
}

// identifying are the attributes that make such an event the same one when it comes again.
func identifying(v reflect.Value) string {
	var parts []string
	for _, name := range []string{"CallID", "MessageID", "ID", "JID", "From", "Chat", "Sender", "Name", "State"} {
		f := v.FieldByName(name)
		if !f.IsValid() || !f.CanInterface() {
			continue
		}
		if s := fmt.Sprint(f.Interface()); s != "" && s != "<nil>" {
			parts = append(parts, s)
		}
	}
	if at := occurredAt(v); at != 0 {
		parts = append(parts, strconv.FormatInt(at, 10))
	}
	return strings.Join(parts, "/")
}

func millis(t time.Time) int64 {
	if t.IsZero() || t.Unix() <= 0 {
		return 0
	}
	return t.UnixMilli()
}
