package host

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"go.mau.fi/whatsmeow/proto/waCommon"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"wharf/connectors/internal/hostpb"
)

// waE2E.Message into Content. Whatever comes becomes something: a known type, or `unknown` with the raw bytes.

const maxWrappers = 8

// contentMapper knows what a message cannot tell by itself: in which chat it was and who we are.
type contentMapper struct {
	chat, sender types.JID
	fromMe       bool
	self         []types.JID
	keepRaw      bool
	log          *slog.Logger
}

// content maps a message as it was received. A panic in here must not end a session: the message is then `unknown`.
func (m contentMapper) content(received *waE2E.Message) (c *hostpb.Content) {
	defer func() {
		if r := recover(); r != nil {
			m.log.Error("message mapper panicked", "panic", fmt.Sprint(r))
			c = &hostpb.Content{Type: "unknown", Raw: rawOf(received, nil)}
		}
	}()
	c, inner := m.mapped(received, 0)
	if m.keepRaw || !completeTypes[c.Type] || inner.SecretEncryptedMessage != nil || inner.EncReactionMessage != nil {
		c.Raw = rawOf(received, inner)
	}
	return c
}

// reveal adds what was encrypted with a message's secret: the new content of an edit, or a reaction.
func (m contentMapper) reveal(c *hostpb.Content, secret *waE2E.Message) {
	inner := m.content(secret)
	switch {
	case c.Type == "reaction":
		c.Reaction = inner.Reaction
	case inner.Type == "edit":
		c.InnerType, c.Text, c.Context, c.Preview, c.EditedAtMs = inner.InnerType, inner.Text, inner.Context, inner.Preview, inner.EditedAtMs
	default:
		c.InnerType, c.Text, c.Context, c.Preview = inner.Type, inner.Text, inner.Context, inner.Preview
	}
	if completeTypes[c.Type] && (completeTypes[c.InnerType] || c.InnerType == "") && !m.keepRaw {
		c.Raw = nil
	}
}

// mapped gives the content and the message that holds it, without its wrappers.
func (m contentMapper) mapped(received *waE2E.Message, depth int) (*hostpb.Content, *waE2E.Message) {
	inner, wrappers := unwrap(received)
	c := &hostpb.Content{}
	m.fill(c, inner, depth)
	c.Wrappers = wrappers
	if slices.ContainsFunc(wrappers, func(w string) bool { return viewOnceWrappers[w] }) {
		if c.Context == nil {
			c.Context = &hostpb.Context{}
		}
		c.Context.ViewOnce = true
	}
	return c, inner
}

// unwrap descends while the only content is a wrapper.
func unwrap(m *waE2E.Message) (*waE2E.Message, []string) {
	var wrappers []string
	for range maxWrappers {
		fields := contentFields(m)
		if len(fields) != 1 || !wrapperFields[fields[0].Name()] {
			break
		}
		inner := wrapped(m.ProtoReflect().Get(fields[0]).Message())
		if inner == nil {
			break
		}
		wrappers = append(wrappers, string(fields[0].Name()))
		m = inner
	}
	return m, wrappers
}

// wrapped is the message inside a FutureProofMessage or a DeviceSentMessage.
func wrapped(wrapper protoreflect.Message) *waE2E.Message {
	fd := wrapper.Descriptor().Fields().ByName("message")
	if fd == nil || !wrapper.Has(fd) {
		return nil
	}
	inner, _ := wrapper.Get(fd).Message().Interface().(*waE2E.Message)
	return inner
}

// contentFields are the populated fields that may be content, in the order of their numbers.
func contentFields(m *waE2E.Message) []protoreflect.FieldDescriptor {
	var out []protoreflect.FieldDescriptor
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !besideFields[fd.Name()] {
			out = append(out, fd)
		}
		return true
	})
	slices.SortFunc(out, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	return out
}

// fill maps an unwrapped message: protocol messages first, then what is encrypted with a message's secret, then content.
func (m contentMapper) fill(c *hostpb.Content, msg *waE2E.Message, depth int) {
	if p := msg.GetProtocolMessage(); p != nil {
		m.protocol(c, p, depth)
		return
	}
	if e := msg.GetSecretEncryptedMessage(); e != nil {
		c.Type = secretEncTypes[int32(e.GetSecretEncType())]
		if c.Type == "" {
			c.Type = "unknown"
		}
		c.Target = m.target(e.GetTargetMessageKey())
		return
	}
	for _, fd := range contentFields(msg) {
		known, ok := contentTypes[fd.Name()]
		if !ok {
			continue
		}
		c.Type = known.name
		if fd.Kind() == protoreflect.StringKind {
			c.Text = proto.String(msg.ProtoReflect().Get(fd).String())
			return
		}
		part := msg.ProtoReflect().Get(fd).Message()
		if text, ok := stringField(part, known.text); ok {
			c.Text = &text
		}
		c.Context = contextOf(part, m)
		m.details(c, msg)
		return
	}
	c.Type = "unknown"
	for _, fd := range contentFields(msg) {
		if fd.Kind() != protoreflect.MessageKind || fd.IsList() || fd.IsMap() {
			continue
		}
		part := msg.ProtoReflect().Get(fd).Message()
		c.Context = contextOf(part, m)
		for _, name := range textGuesses {
			if text, ok := stringField(part, name); ok {
				c.Text, c.TextGuessed = &text, true
				return
			}
		}
	}
}

// details are what some types have beyond text and context.
func (m contentMapper) details(c *hostpb.Content, msg *waE2E.Message) {
	switch {
	case msg.ExtendedTextMessage != nil:
		c.Preview = previewOf(msg.ExtendedTextMessage)
	case msg.VideoMessage != nil:
		if msg.VideoMessage.GetGifPlayback() {
			c.Type = "gif"
		}
		m.viewOnce(c, msg.VideoMessage.GetViewOnce())
	case msg.ImageMessage != nil:
		m.viewOnce(c, msg.ImageMessage.GetViewOnce())
	case msg.AudioMessage != nil:
		if msg.AudioMessage.GetPTT() {
			c.Type = "voice"
		}
		m.viewOnce(c, msg.AudioMessage.GetViewOnce())
	case msg.ReactionMessage != nil:
		c.Reaction = proto.String(msg.ReactionMessage.GetText())
		c.Target = m.target(msg.ReactionMessage.GetKey())
	case msg.EncReactionMessage != nil:
		c.Target = m.target(msg.EncReactionMessage.GetTargetMessageKey())
	case msg.EncCommentMessage != nil:
		c.Target = m.target(msg.EncCommentMessage.GetTargetMessageKey())
	case msg.CommentMessage != nil:
		inner, _ := m.mapped(msg.CommentMessage.GetMessage(), maxWrappers)
		c.InnerType, c.Text = inner.Type, inner.Text
		c.Target = m.target(msg.CommentMessage.GetTargetMessageKey())
	case msg.PollUpdateMessage != nil:
		c.Target = m.target(msg.PollUpdateMessage.GetPollCreationMessageKey())
	case msg.EncEventResponseMessage != nil:
		c.Target = m.target(msg.EncEventResponseMessage.GetEventCreationMessageKey())
	case msg.PinInChatMessage != nil:
		c.Target = m.target(msg.PinInChatMessage.GetKey())
	case msg.KeepInChatMessage != nil:
		c.Target = m.target(msg.KeepInChatMessage.GetKey())
	case msg.PlaceholderMessage != nil:
		c.Placeholder = "masked"
	}
}

func (m contentMapper) viewOnce(c *hostpb.Content, flag bool) {
	if !flag {
		return
	}
	if c.Context == nil {
		c.Context = &hostpb.Context{}
	}
	c.Context.ViewOnce = true
}

// protocol maps a protocol message.
func (m contentMapper) protocol(c *hostpb.Content, p *waE2E.ProtocolMessage, depth int) {
	switch p.GetType() {
	case waE2E.ProtocolMessage_MESSAGE_EDIT:
		c.Type, c.Target, c.EditedAtMs = "edit", m.target(p.GetKey()), p.GetTimestampMS()
		if p.EditedMessage != nil && depth < maxWrappers {
			inner, _ := m.mapped(p.EditedMessage, depth+1)
			c.InnerType, c.Text, c.Context, c.Preview = inner.Type, inner.Text, inner.Context, inner.Preview
		}
		return
	case waE2E.ProtocolMessage_REVOKE:
		if p.GetKey() != nil {
			c.Type, c.Target, c.RevokedBy = "revoke", m.target(p.GetKey()), "sender"
			if !p.GetKey().GetFromMe() {
				c.RevokedBy = "admin"
			}
			return
		}
	case waE2E.ProtocolMessage_EPHEMERAL_SETTING:
		c.Type, c.TimerS = "disappearing_timer", proto.Int32(int32(p.GetEphemeralExpiration()))
		if set := p.GetEphemeralSettingTimestamp(); set > 0 {
			c.Context = &hostpb.Context{EphemeralSetAtMs: proto.Int64(set * 1000)}
		}
		return
	case waE2E.ProtocolMessage_SHARE_PHONE_NUMBER:
		c.Type = "phone_number"
		return
	}
	c.Type = "system"
	c.System = &hostpb.SystemInfo{ProtocolType: fmt.Sprint(int32(p.GetType()))}
}

// target makes a key of a message's own key: there "from me" is said by its sender.
func (m contentMapper) target(key *waCommon.MessageKey) *hostpb.MessageKey {
	if key == nil {
		return nil
	}
	out := &hostpb.MessageKey{Chat: m.chat.String(), Id: key.GetID()}
	switch {
	case key.GetFromMe():
		out.Sender, out.FromMe = m.sender.ToNonAD().String(), m.fromMe
	case key.GetParticipant() != "":
		out.Sender = key.GetParticipant()
		if jid, err := types.ParseJID(key.GetParticipant()); err == nil {
			out.Sender, out.FromMe = jid.ToNonAD().String(), m.isSelf(jid)
		}
	case m.fromMe:
		out.Sender = m.chat.String()
	default:
		out.FromMe = true
		for _, self := range m.self {
			if self.Server == m.chat.Server || out.Sender == "" {
				out.Sender = self.ToNonAD().String()
			}
		}
	}
	return out
}

func (m contentMapper) isSelf(jid types.JID) bool {
	return slices.ContainsFunc(m.self, func(s types.JID) bool { return s.User == jid.User && s.Server == jid.Server })
}

func stringField(part protoreflect.Message, name protoreflect.Name) (string, bool) {
	if name == "" {
		return "", false
	}
	fd := part.Descriptor().Fields().ByName(name)
	if fd == nil || fd.Kind() != protoreflect.StringKind || fd.IsList() || !part.Has(fd) {
		return "", false
	}
	s := part.Get(fd).String()
	return s, s != ""
}

func previewOf(t *waE2E.ExtendedTextMessage) *hostpb.LinkPreview {
	if t.GetMatchedText() == "" && t.GetTitle() == "" && t.GetDescription() == "" {
		return nil
	}
	return &hostpb.LinkPreview{
		Url: t.GetMatchedText(), Title: t.GetTitle(), Description: t.GetDescription(),
		Type: strings.ToLower(t.GetPreviewType().String()), Thumbnail: t.GetJPEGThumbnail(),
	}
}

// rawOf is the received message without what must not be published: sender keys, secrets, key shares.
func rawOf(received, inner *waE2E.Message) *hostpb.Raw {
	raw := &hostpb.Raw{Format: "wa_e2e", WaVersion: store.GetWAVersion().String()}
	if inner == nil {
		inner = received
	}
	raw.FieldNumbers = fieldNumbers(inner)
	clean, ok := proto.Clone(received).(*waE2E.Message)
	if !ok {
		return raw
	}
	strip(clean)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(clean)
	if err != nil {
		// A received message that cannot be encoded again: its numbers still tell what it was.
		return raw
	}
	raw.Bytes = b
	return raw
}

// strip removes keys from a message and from every message in it.
func strip(m *waE2E.Message) {
	for range maxWrappers {
		m.SenderKeyDistributionMessage, m.FastRatchetKeySenderKeyDistributionMessage = nil, nil
		m.GroupRootKeyShare, m.RootSecretDistributeMessage = nil, nil
		if info := m.MessageContextInfo; info != nil {
			info.MessageSecret, info.BotMessageSecret = nil, nil
		}
		if p := m.ProtocolMessage; p != nil {
			p.AppStateSyncKeyShare = nil
			if n := p.HistorySyncNotification; n != nil {
				n.MediaKey = nil
			}
			if p.EditedMessage != nil {
				m = p.EditedMessage
				continue
			}
		}
		fields := contentFields(m)
		if len(fields) != 1 || !wrapperFields[fields[0].Name()] {
			return
		}
		if m = wrapped(m.ProtoReflect().Get(fields[0]).Message()); m == nil {
			return
		}
	}
}

// fieldNumbers are the populated and the unknown top-level fields.
func fieldNumbers(m *waE2E.Message) []int32 {
	var out []int32
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		out = append(out, int32(fd.Number()))
		return true
	})
	for b := m.ProtoReflect().GetUnknown(); len(b) > 0; {
		number, n := unknownField(b)
		if n < 0 {
			break
		}
		out = append(out, number)
		b = b[n:]
	}
	slices.Sort(out)
	return slices.Compact(out)
}
