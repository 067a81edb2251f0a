package host

import (
	"strconv"

	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"wharf/connectors/internal/hostpb"
)

// ContextInfo into Context.

func unknownField(b []byte) (number int32, size int) {
	num, _, n := protowire.ConsumeField(b)
	return int32(num), n
}

// contextOf maps the contextInfo of a content message, nil when it has none or it says nothing.
func contextOf(part protoreflect.Message, m contentMapper) *hostpb.Context {
	fd := part.Descriptor().Fields().ByName("contextInfo")
	if fd == nil || fd.Kind() != protoreflect.MessageKind || !part.Has(fd) {
		return nil
	}
	info, ok := part.Get(fd).Message().Interface().(*waE2E.ContextInfo)
	if !ok {
		return nil
	}
	c := &hostpb.Context{
		Quoted: quoteOf(info, m), Mentions: info.GetMentionedJID(), MentionAll: info.GetNonJIDMentions() == mentionEveryone,
		Forwarded: info.GetIsForwarded(), Conversion: conversionOf(info),
	}
	for _, g := range info.GetGroupMentions() {
		c.GroupMentions = append(c.GroupMentions, &hostpb.GroupMention{Jid: g.GetGroupJID(), Subject: g.GetGroupSubject()})
	}
	if info.ForwardingScore != nil {
		c.ForwardingScore = proto.Int32(int32(info.GetForwardingScore()))
	}
	if info.Expiration != nil {
		c.EphemeralS = proto.Int32(int32(info.GetExpiration()))
	}
	if info.EphemeralSettingTimestamp != nil {
		c.EphemeralSetAtMs = proto.Int64(info.GetEphemeralSettingTimestamp() * 1000)
	}
	if proto.Equal(c, &hostpb.Context{}) {
		return nil
	}
	return c
}

func quoteOf(info *waE2E.ContextInfo, m contentMapper) *hostpb.Quoted {
	if info.GetStanzaID() == "" {
		return nil
	}
	key := &hostpb.MessageKey{Chat: m.chat.String(), Id: info.GetStanzaID()}
	if info.GetRemoteJID() != "" {
		key.Chat = info.GetRemoteJID()
	}
	if jid, err := types.ParseJID(info.GetParticipant()); err == nil && !jid.IsEmpty() {
		key.Sender, key.FromMe = jid.ToNonAD().String(), m.isSelf(jid)
	}
	q := &hostpb.Quoted{Key: key}
	if info.QuotedMessage != nil {
		inner := &hostpb.Content{}
		unwrapped, _ := unwrap(info.QuotedMessage)
		contentMapper{chat: m.chat, sender: m.sender, self: m.self, log: m.log}.fillQuoted(inner, unwrapped)
		q.Type, q.Text = inner.Type, inner.Text
	}
	return q
}

// fillQuoted maps type and text only: a quote in a quote is not followed.
func (m contentMapper) fillQuoted(c *hostpb.Content, msg *waE2E.Message) {
	c.Type = "unknown"
	for _, fd := range contentFields(msg) {
		known, ok := contentTypes[fd.Name()]
		if !ok {
			continue
		}
		c.Type = known.name
		if fd.Kind() == protoreflect.StringKind {
			c.Text = proto.String(msg.ProtoReflect().Get(fd).String())
		} else if text, ok := stringField(msg.ProtoReflect().Get(fd).Message(), known.text); ok {
			c.Text = &text
		}
		return
	}
}

// conversionOf keeps where a conversation came from: advertisements and links.
func conversionOf(info *waE2E.ContextInfo) map[string]string {
	out := make(map[string]string)
	put := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	number := func(name string, value *uint32) {
		if value != nil {
			out[name] = strconv.FormatUint(uint64(*value), 10)
		}
	}
	put("source", info.GetConversionSource())
	put("data", string(info.GetConversionData()))
	number("delay_s", info.ConversionDelaySeconds)
	put("entry_point_source", info.GetEntryPointConversionSource())
	put("entry_point_app", info.GetEntryPointConversionApp())
	number("entry_point_delay_s", info.EntryPointConversionDelaySeconds)
	put("entry_point_external_source", info.GetEntryPointConversionExternalSource())
	put("entry_point_external_medium", info.GetEntryPointConversionExternalMedium())
	put("ctwa_signals", info.GetCtwaSignals())
	put("utm_source", info.GetUtm().GetUtmSource())
	put("utm_campaign", info.GetUtm().GetUtmCampaign())
	put("smb_client_campaign_id", info.GetSmbClientCampaignID())
	put("smb_server_campaign_id", info.GetSmbServerCampaignID())
	if ad := info.GetExternalAdReply(); ad != nil {
		put("ad_source_type", ad.GetSourceType())
		put("ad_source_id", ad.GetSourceID())
		put("ad_source_url", ad.GetSourceURL())
		put("ad_title", ad.GetTitle())
		put("ad_body", ad.GetBody())
		put("ad_ctwa_clid", ad.GetCtwaClid())
		put("ad_ref", ad.GetRef())
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
