package signalstore

import (
	"context"
	"strings"

	"go.mau.fi/whatsmeow/types"
)

// Identities, sessions and sender keys.
const (
	prefixIdentity  = "i/"
	prefixSession   = "s/"
	prefixSenderKey = "k/"
)

// PutIdentity stores the identity key of a peer's device.
func (s *Store) PutIdentity(ctx context.Context, address string, key [32]byte) error {
	return s.locked(func() error {
		s.unmigrated(address)
		return s.put(prefixIdentity+address, key[:], isStep(ctx))
	})
}

// DeleteAllIdentities forgets the identities of all devices of a user.
func (s *Store) DeleteAllIdentities(ctx context.Context, phone string) error {
	return s.locked(func() error { return s.removePrefix(prefixIdentity+phone+":", isStep(ctx)) })
}

// DeleteIdentity forgets one identity.
func (s *Store) DeleteIdentity(ctx context.Context, address string) error {
	return s.locked(func() error { return s.remove(prefixIdentity+address, isStep(ctx)) })
}

// IsTrustedIdentity accepts unknown devices and known keys. A "no" ends an encryption that holds the ratchet lock.
func (s *Store) IsTrustedIdentity(ctx context.Context, address string, key [32]byte) (bool, error) {
	known := s.get(prefixIdentity + address)
	if known == nil || string(known) == string(key[:]) {
		return true, nil
	}
	if scopeOf(ctx) == nil {
		s.locks.release(nil, address)
	}
	return false, nil
}

// GetSession reads a session in order to change it: the ratchet lock is held until PutSession.
func (s *Store) GetSession(ctx context.Context, address string) ([]byte, error) {
	if err := s.locks.acquire(scopeOf(ctx), address); err != nil {
		return nil, err
	}
	return s.get(prefixSession + address), nil
}

// HasSession tells whether there is a session.
func (s *Store) HasSession(_ context.Context, address string) (bool, error) {
	return s.get(prefixSession+address) != nil, nil
}

// GetManySessions reads the sessions of one send; its scope holds the ratchet lock until PutManySessions.
func (s *Store) GetManySessions(ctx context.Context, addresses []string) (map[string][]byte, error) {
	if err := s.locks.acquire(scopeOf(ctx), manyAddress); err != nil {
		return nil, err
	}
	out := make(map[string][]byte, len(addresses))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, address := range addresses {
		out[address] = s.items[prefixSession+address]
	}
	return out, nil
}

// manyAddress stands for the addresses of a send without a scope.
const manyAddress = "*"

// PutSession stores a session and ends the hold that GetSession began. Inside a scope the scope goes on holding.
func (s *Store) PutSession(ctx context.Context, address string, session []byte) error {
	err := s.locked(func() error { return s.putSession(address, session, isStep(ctx)) })
	if sc := scopeOf(ctx); sc == nil {
		s.locks.release(nil, address)
	} else if !sc.step {
		s.locks.release(sc, "")
	}
	return err
}

// PutManySessions stores the sessions of one send and ends its hold.
func (s *Store) PutManySessions(ctx context.Context, sessions map[string][]byte) error {
	err := s.locked(func() error {
		for address, session := range sessions {
			if err := s.putSession(address, session, isStep(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
	if sc := scopeOf(ctx); sc == nil {
		s.locks.release(nil, manyAddress)
	} else if !sc.step {
		s.locks.release(sc, "")
	}
	return err
}

func (s *Store) putSession(address string, session []byte, step bool) error {
	s.unmigrated(address)
	return s.put(prefixSession+address, session, step)
}

// unmigrated notes that something is kept under an address again, so that it will be moved once more.
func (s *Store) unmigrated(address string) {
	if user, _, ok := strings.Cut(address, ":"); ok {
		delete(s.migrated, user)
	}
}

// DeleteAllSessions forgets the sessions with all devices of a user.
func (s *Store) DeleteAllSessions(ctx context.Context, phone string) error {
	return s.exclusively(ctx, func() error { return s.removePrefix(prefixSession+phone+":", isStep(ctx)) })
}

// DeleteSession forgets one session. An anonymous hold of that address ends: there is nothing left to store.
func (s *Store) DeleteSession(ctx context.Context, address string) error {
	if scopeOf(ctx) == nil {
		s.locks.release(nil, address)
	}
	return s.exclusively(ctx, func() error { return s.remove(prefixSession+address, isStep(ctx)) })
}

// exclusively runs fn under the ratchet lock, and under the scope's hold if it has one.
func (s *Store) exclusively(ctx context.Context, fn func() error) error {
	if sc := scopeOf(ctx); sc != nil && s.locks.holds(sc) {
		return s.locked(fn)
	}
	own := &scope{}
	if err := s.locks.acquire(own, ""); err != nil {
		return err
	}
	defer s.locks.release(own, "")
	return s.locked(fn)
}

func (l *ratchetLock) holds(sc *scope) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return sc.holds
}

// MigratePNToLID moves everything known under a phone number to the LID, as whatsmeow asks before each use.
func (s *Store) MigratePNToLID(ctx context.Context, pn, lid types.JID) error {
	from, to := pn.SignalAddressUser(), lid.SignalAddressUser()
	s.mu.Lock()
	_, done := s.migrated[from]
	s.mu.Unlock()
	if done || from == to {
		return nil
	}
	return s.exclusively(ctx, func() error {
		for _, name := range s.names("") {
			renamed, ok := renameUser(name, from, to)
			if !ok {
				continue
			}
			if err := s.put(renamed, s.items[name], isStep(ctx)); err != nil {
				return err
			}
			if err := s.remove(name, isStep(ctx)); err != nil {
				return err
			}
		}
		s.migrated[from] = struct{}{}
		return nil
	})
}

// renameUser gives the name an item of user from has under user to; ok is false for every other item.
func renameUser(name, from, to string) (string, bool) {
	switch {
	case strings.HasPrefix(name, prefixSession+from+":"), strings.HasPrefix(name, prefixIdentity+from+":"):
		return name[:len(prefixSession)] + to + name[len(prefixSession)+len(from):], true
	case strings.HasPrefix(name, prefixSenderKey):
		i := strings.LastIndexByte(name, '/')
		if strings.HasPrefix(name[i+1:], from+":") {
			return name[:i+1] + to + name[i+1+len(from):], true
		}
	}
	return "", false
}

// PutSenderKey stores the sender key of a group member.
func (s *Store) PutSenderKey(ctx context.Context, group, user string, session []byte) error {
	return s.locked(func() error {
		s.unmigrated(user)
		return s.put(prefixSenderKey+group+"/"+user, session, isStep(ctx))
	})
}

// GetSenderKey reads the sender key of a group member.
func (s *Store) GetSenderKey(_ context.Context, group, user string) ([]byte, error) {
	return s.get(prefixSenderKey + group + "/" + user), nil
}
