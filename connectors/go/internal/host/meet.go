package host

import (
	"context"
	"errors"
	"fmt"

	signal "go.mau.fi/libsignal/session"
	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// What a send needs from the server is fetched before it begins: the recipient's LID, device lists, prekeys. SendMessage
// would ask for them under its own lock and the ratchet lock; received messages wait for those, the reader stops at its
// limit of unanswered nodes, and the answer behind them is never read.

var (
	errNoKeys  = errors.New("no device of the recipient has keys to encrypt for")
	errPreKeys = errors.New("prekeys could not be fetched")
)

// meet makes sure that there is a Signal session with every device that a message to a person goes to.
func (s *session) meet(ctx context.Context, to types.JID) error {
	if to.Server != types.DefaultUserServer && to.Server != types.HiddenUserServer {
		return nil
	}
	c := s.client.Load()
	lid, err := s.lidOf(ctx, c, to)
	if err != nil {
		return err
	}
	own := c.Store.GetLID()
	devices, err := c.GetUserDevices(ctx, []types.JID{lid, own.ToNonAD()})
	if err != nil {
		return fmt.Errorf("failed to get device list: %w", err)
	}
	reached := false
	var strangers []types.JID
	for _, device := range devices {
		if device == own || device == c.Store.GetJID() {
			continue
		}
		known, err := s.store.HasSession(ctx, device.SignalAddress().String())
		if err != nil {
			return err
		}
		if !known {
			strangers = append(strangers, device)
		}
		reached = reached || known && device.User == lid.User
	}
	if len(strangers) == 0 {
		return nil
	}
	//lint:ignore SA1019 there is no other way to fetch prekeys
	bundles := c.DangerousInternals().FetchPreKeysNoError(ctx, strangers)
	if bundles == nil {
		return errPreKeys
	}
	for _, device := range strangers {
		bundle := bundles[device]
		if bundle == nil {
			continue // without keys: SendMessage leaves this device out
		}
		if err := s.begin(ctx, device, func(ctx context.Context) error {
			return signal.NewBuilderFromSignal(c.Store, device.SignalAddress(), store.SignalProtobufSerializer).ProcessBundle(ctx, bundle)
		}); err != nil {
			return err
		}
		reached = reached || device.User == lid.User
	}
	if !reached && lid.User != own.User {
		return errNoKeys
	}
	return nil
}

// begin runs fn under the ratchet lock unless a session has come into being meanwhile: a message of theirs was first.
func (s *session) begin(ctx context.Context, device types.JID, fn func(context.Context) error) error {
	ctx, done := s.store.SendScope(ctx)
	defer done()
	known, err := s.store.GetSession(ctx, device.SignalAddress().String())
	if err != nil || known != nil {
		return err
	}
	if err := fn(ctx); err != nil {
		// An identity that has changed, a bad signature: SendMessage decides about it.
		s.log.Info("no session from a prekey bundle", "device", device.String(), "error", err)
	}
	return nil
}

// lidOf is the address that SendMessage will send to; asking for an unknown one keeps the answer.
func (s *session) lidOf(ctx context.Context, c *whatsmeow.Client, to types.JID) (types.JID, error) {
	if to.Server == types.HiddenUserServer {
		return to, nil
	}
	lid, err := c.Store.LIDs.GetLIDForPN(ctx, to)
	if err != nil || !lid.IsEmpty() {
		return lid, err
	}
	info, err := c.GetUserInfo(ctx, []types.JID{to})
	if err != nil {
		return lid, fmt.Errorf("failed to get user info for %s to fill LID cache: %w", to, err)
	}
	if lid = info[to].LID; lid.IsEmpty() {
		return lid, fmt.Errorf("no LID found for %s from server", to)
	}
	return lid, nil
}
