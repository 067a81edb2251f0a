package host

import (
	"context"
	"errors"

	"go.mau.fi/whatsmeow/types"
)

// Presence: shown under a name, and followed of contacts for as long as the session's state lives.

var errNoPushName = errors.New("the account's name is not known yet, and presence is shown with it: set the instance's " +
	"setting push_name or its label, or wait until the phone has told the name")

// sendPresence shows us as available or not. WhatsApp takes no presence without a name; until the phone has told the
// account's own one, the instance's is shown.
func (s *session) sendPresence(ctx context.Context, presence types.Presence) error {
	c := s.client.Load()
	if c.Store.PushName == "" {
		if s.settings.PushName == "" {
			return errNoPushName
		}
		c.Store.PushName = s.settings.PushName
	}
	return c.SendPresence(ctx, presence)
}

// followAgain asks for the presence of contacts on a new connection: WhatsApp forgets it with the old one.
func (s *session) followAgain() {
	watched, err := s.store.Watched()
	if err != nil {
		s.log.Error("contacts to follow cannot be read", "error", err)
		return
	}
	if len(watched) == 0 {
		return
	}
	c := s.client.Load()
	go func() {
		for _, contact := range watched {
			ctx, cancel := context.WithTimeout(s.ctx, markTimeout)
			err := c.SubscribePresence(ctx, contact)
			cancel()
			if err != nil {
				s.log.Info("presence cannot be followed", "error", err)
				return
			}
		}
	}()
}
