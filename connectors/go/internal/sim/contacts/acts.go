package contacts

import (
	"context"
	"slices"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/proto/waE2E"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"
	"google.golang.org/protobuf/proto"
)

// What people do beside writing: mark as read, type, come online, change and delete what they wrote, react.

// maxSeen bounds what a contact remembers of others.
const maxSeen = 1000

// Seen is something that a contact's client showed beside messages: a receipt that tells more than delivery, typing,
// presence.
type Seen struct {
	Kind  string   `json:"kind"` // receipt, typing, presence
	From  string   `json:"from"`
	Value string   `json:"value"`
	IDs   []string `json:"ids,omitempty"`
	AtMS  int64    `json:"at_ms"`
}

// notice keeps what the client showed.
func (c *Contact) notice(event any) {
	var s Seen
	switch e := event.(type) {
	case *events.Receipt:
		if e.Type == types.ReceiptTypeDelivered || e.Type == types.ReceiptTypeInactive || e.Type == types.ReceiptTypeSender {
			return
		}
		s = Seen{Kind: "receipt", From: c.phoneOf(e.Sender), Value: string(e.Type), IDs: e.MessageIDs}
	case *events.ChatPresence:
		s = Seen{Kind: "typing", From: c.phoneOf(e.Sender), Value: string(e.State)}
		if e.Media == types.ChatPresenceMediaAudio && e.State == types.ChatPresenceComposing {
			s.Value = "recording"
		}
	case *events.Presence:
		s = Seen{Kind: "presence", From: c.phoneOf(e.From), Value: "available"}
		if e.Unavailable {
			s.Value = "unavailable"
		}
	default:
		return
	}
	s.AtMS = c.pool.Now().UnixMilli()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen = append(c.seen, s); len(c.seen) > maxSeen {
		c.seen = slices.Delete(c.seen, 0, len(c.seen)-maxSeen)
	}
}

// phoneOf is somebody's number, or the address where it is not known.
func (c *Contact) phoneOf(jid types.JID) string {
	if jid.Server == types.HiddenUserServer {
		if alt := c.store.AltJID(jid.ToNonAD()); !alt.IsEmpty() {
			return alt.User
		}
	}
	return jid.User
}

// Seen gives what the client showed, oldest first.
func (c *Contact) Seen() []Seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Seen{}, c.seen...)
}

func (c *Contact) connected() (*whatsmeow.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		return nil, whatsmeow.ErrNotConnected
	}
	return c.client, nil
}

// Read tells a sender that messages were read.
func (c *Contact) Read(ctx context.Context, from types.JID, ids []string) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	return client.MarkRead(ctx, ids, c.pool.Now(), c.chat(ctx, from), types.EmptyJID)
}

// Type shows somebody that the contact is typing or recording, or has stopped.
func (c *Contact) Type(ctx context.Context, to types.JID, typing, recording bool) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	state, media := types.ChatPresencePaused, types.ChatPresenceMediaText
	if typing || recording {
		state = types.ChatPresenceComposing
	}
	if recording {
		media = types.ChatPresenceMediaAudio
	}
	return client.SendChatPresence(ctx, c.chat(ctx, to), state, media)
}

// Appear comes online, or goes.
func (c *Contact) Appear(ctx context.Context, available bool) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	if available {
		return client.SendPresence(ctx, types.PresenceAvailable)
	}
	return client.SendPresence(ctx, types.PresenceUnavailable)
}

// Follow asks for somebody's presence.
func (c *Contact) Follow(ctx context.Context, who types.JID) error {
	client, err := c.connected()
	if err != nil {
		return err
	}
	return client.SubscribePresence(ctx, c.chat(ctx, who))
}

// Edit is the message that replaces the text of an own one.
func (c *Contact) Edit(to types.JID, id, text string) (*waE2E.Message, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	return client.BuildEdit(to, id, &waE2E.Message{Conversation: proto.String(text)}), nil
}

// Revoke is the message that deletes one: an own one, or as an administrator the other's.
func (c *Contact) Revoke(to types.JID, id string, byAdmin bool) (*waE2E.Message, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	return client.BuildRevoke(to, author(to, !byAdmin), id), nil
}

// React is the message that puts an emoji on the other's message or an own one; an empty one takes it back.
func (c *Contact) React(to types.JID, id, emoji string, own bool) (*waE2E.Message, error) {
	client, err := c.connected()
	if err != nil {
		return nil, err
	}
	return client.BuildReaction(to, author(to, own), id, emoji), nil
}

func author(to types.JID, own bool) types.JID {
	if own {
		return types.EmptyJID
	}
	return to
}

// SetTimer is the message that changes the disappearing timer of a chat.
func (c *Contact) SetTimer(seconds uint32) *waE2E.Message {
	return &waE2E.Message{ProtocolMessage: &waE2E.ProtocolMessage{
		Type:                      waE2E.ProtocolMessage_EPHEMERAL_SETTING.Enum(),
		EphemeralExpiration:       proto.Uint32(seconds),
		EphemeralSettingTimestamp: proto.Int64(c.pool.Now().Unix()),
	}}
}
