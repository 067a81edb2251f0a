package signalstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// Names of contacts and settings of chats.
const (
	prefixContact = "n/"
	prefixChat    = "cs/"
)

// contact is the stored form; short names keep thousands of contacts small.
type contact struct {
	First    string `json:"f,omitempty"`
	Full     string `json:"n,omitempty"`
	Push     string `json:"p,omitempty"`
	Business string `json:"b,omitempty"`
	Redacted string `json:"r,omitempty"`
}

func (c contact) info() types.ContactInfo {
	return types.ContactInfo{
		Found: true, FirstName: c.First, FullName: c.Full, PushName: c.Push, BusinessName: c.Business, RedactedPhone: c.Redacted,
	}
}

func decodeContact(name string, b []byte) (c contact, err error) {
	if err = json.Unmarshal(b, &c); err != nil {
		err = fmt.Errorf("signalstore: %s: %w", name, err)
	}
	return c, err
}

// editContact changes a contact under the store's lock.
func (s *Store) editContact(ctx context.Context, user types.JID, edit func(*contact)) error {
	name := prefixContact + user.String()
	return s.locked(func() error {
		var c contact
		if b, ok := s.items[name]; ok {
			var err error
			if c, err = decodeContact(name, b); err != nil {
				return err
			}
		}
		before := c
		edit(&c)
		if c == before {
			return nil
		}
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return s.put(name, value, isStep(ctx))
	})
}

// PutPushName keeps the name a user gave himself; tells whether it changed, and from what.
func (s *Store) PutPushName(ctx context.Context, user types.JID, pushName string) (changed bool, previous string, err error) {
	err = s.editContact(ctx, user, func(c *contact) {
		if c.Push != pushName {
			changed, previous, c.Push = true, c.Push, pushName
		}
	})
	return changed, previous, err
}

// PutBusinessName keeps a verified name; tells whether it changed, and from what.
func (s *Store) PutBusinessName(ctx context.Context, user types.JID, businessName string) (changed bool, previous string, err error) {
	err = s.editContact(ctx, user, func(c *contact) {
		if c.Business != businessName {
			changed, previous, c.Business = true, c.Business, businessName
		}
	})
	return changed, previous, err
}

// PutContactName keeps the address book's names. whatsmeow calls it with the first name first, against its interface.
func (s *Store) PutContactName(ctx context.Context, user types.JID, firstName, fullName string) error {
	return s.editContact(ctx, user, func(c *contact) { c.First, c.Full = firstName, fullName })
}

// PutAllContactNames keeps many names.
func (s *Store) PutAllContactNames(ctx context.Context, contacts []store.ContactEntry) error {
	for _, c := range contacts {
		if err := s.PutContactName(ctx, c.JID, c.FirstName, c.FullName); err != nil {
			return err
		}
	}
	return nil
}

// PutManyRedactedPhones keeps shortened phone numbers.
func (s *Store) PutManyRedactedPhones(ctx context.Context, entries []store.RedactedPhoneEntry) error {
	for _, e := range entries {
		if err := s.editContact(ctx, e.JID, func(c *contact) { c.Redacted = e.RedactedPhone }); err != nil {
			return err
		}
	}
	return nil
}

// GetContact gives what is known of a user; Found is false when nothing is.
func (s *Store) GetContact(_ context.Context, user types.JID) (types.ContactInfo, error) {
	name := prefixContact + user.String()
	b := s.get(name)
	if b == nil {
		return types.ContactInfo{}, nil
	}
	c, err := decodeContact(name, b)
	return c.info(), err
}

// GetAllContacts gives all contacts.
func (s *Store) GetAllContacts(context.Context) (map[types.JID]types.ContactInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[types.JID]types.ContactInfo)
	for _, name := range s.names(prefixContact) {
		jid, err := types.ParseJID(name[len(prefixContact):])
		if err != nil {
			return nil, fmt.Errorf("signalstore: contact %q: %w", name, err)
		}
		c, err := decodeContact(name, s.items[name])
		if err != nil {
			return nil, err
		}
		out[jid] = c.info()
	}
	return out, nil
}

// chatSettings is the stored form; Muted is a second, -1 = forever.
type chatSettings struct {
	Muted    int64 `json:"m,omitempty"`
	Pinned   bool  `json:"p,omitempty"`
	Archived bool  `json:"a,omitempty"`
}

func (s *Store) editChat(ctx context.Context, chat types.JID, edit func(*chatSettings)) error {
	name := prefixChat + chat.String()
	return s.locked(func() error {
		var c chatSettings
		if b, ok := s.items[name]; ok {
			if err := json.Unmarshal(b, &c); err != nil {
				return fmt.Errorf("signalstore: %s: %w", name, err)
			}
		}
		edit(&c)
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		return s.put(name, value, isStep(ctx))
	})
}

// PutMutedUntil keeps the end of a chat's mute; zero: not muted.
func (s *Store) PutMutedUntil(ctx context.Context, chat types.JID, mutedUntil time.Time) error {
	return s.editChat(ctx, chat, func(c *chatSettings) {
		if c.Muted = unixOrZero(mutedUntil); mutedUntil.Equal(store.MutedForever) {
			c.Muted = -1
		}
	})
}

// PutPinned keeps whether a chat is pinned.
func (s *Store) PutPinned(ctx context.Context, chat types.JID, pinned bool) error {
	return s.editChat(ctx, chat, func(c *chatSettings) { c.Pinned = pinned })
}

// PutArchived keeps whether a chat is archived.
func (s *Store) PutArchived(ctx context.Context, chat types.JID, archived bool) error {
	return s.editChat(ctx, chat, func(c *chatSettings) { c.Archived = archived })
}

// GetChatSettings gives the settings of a chat; Found is false when there are none.
func (s *Store) GetChatSettings(_ context.Context, chat types.JID) (types.LocalChatSettings, error) {
	b := s.get(prefixChat + chat.String())
	if b == nil {
		return types.LocalChatSettings{}, nil
	}
	var c chatSettings
	if err := json.Unmarshal(b, &c); err != nil {
		return types.LocalChatSettings{}, err
	}
	out := types.LocalChatSettings{Found: true, Pinned: c.Pinned, Archived: c.Archived, MutedUntil: timeOrZero(c.Muted)}
	if c.Muted < 0 {
		out.MutedUntil = store.MutedForever
	}
	return out, nil
}
