package signalstore

import (
	"context"
	"fmt"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// LID-phone number mappings: one item per LID; the other direction is an index in memory.
const prefixLID = "l/"

// PutManyLIDMappings keeps many mappings.
func (s *Store) PutManyLIDMappings(ctx context.Context, mappings []store.LIDMapping) error {
	for _, m := range mappings {
		if err := s.PutLIDMapping(ctx, m.LID, m.PN); err != nil {
			return err
		}
	}
	return nil
}

// PutLIDMapping keeps a mapping; a phone number belongs to one LID only.
func (s *Store) PutLIDMapping(ctx context.Context, lid, pn types.JID) error {
	if lid.Server != types.HiddenUserServer || pn.Server != types.DefaultUserServer {
		return fmt.Errorf("signalstore: invalid mapping %s to %s", lid, pn)
	}
	return s.locked(func() error {
		name := prefixLID + lid.User
		if string(s.items[name]) == pn.User && s.lidOf[pn.User] == lid.User {
			return nil
		}
		if old, ok := s.lidOf[pn.User]; ok && old != lid.User {
			if err := s.remove(prefixLID+old, isStep(ctx)); err != nil {
				return err
			}
		}
		if old, ok := s.items[name]; ok {
			delete(s.lidOf, string(old))
		}
		if err := s.put(name, []byte(pn.User), isStep(ctx)); err != nil {
			return err
		}
		s.lidOf[pn.User] = lid.User
		if s.opts.Mapping != nil {
			s.opts.Mapping(lid.ToNonAD(), pn.ToNonAD())
		}
		return nil
	})
}

// altJID is the other address of a user, empty when unknown. The store is locked.
func (s *Store) altJID(jid types.JID) types.JID {
	switch jid.Server {
	case types.HiddenUserServer:
		if pn, ok := s.items[prefixLID+jid.User]; ok {
			return types.JID{User: string(pn), Device: jid.Device, Server: types.DefaultUserServer}
		}
	case types.DefaultUserServer:
		if lid, ok := s.lidOf[jid.User]; ok {
			return types.JID{User: lid, Device: jid.Device, Server: types.HiddenUserServer}
		}
	}
	return types.EmptyJID
}

// AltJID is the other address of a user (LID for phone number and the reverse), empty when unknown.
func (s *Store) AltJID(jid types.JID) types.JID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.altJID(jid)
}

// GetPNForLID gives the phone number of a LID, empty when unknown.
func (s *Store) GetPNForLID(_ context.Context, lid types.JID) (types.JID, error) {
	if lid.Server != types.HiddenUserServer {
		return types.EmptyJID, fmt.Errorf("signalstore: %s is not a LID", lid)
	}
	return s.AltJID(lid), nil
}

// GetLIDForPN gives the LID of a phone number, empty when unknown.
func (s *Store) GetLIDForPN(_ context.Context, pn types.JID) (types.JID, error) {
	if pn.Server != types.DefaultUserServer {
		return types.EmptyJID, fmt.Errorf("signalstore: %s is not a phone number", pn)
	}
	return s.AltJID(pn), nil
}

// GetManyLIDsForPNs gives the known LIDs of many phone numbers.
func (s *Store) GetManyLIDsForPNs(_ context.Context, pns []types.JID) (map[types.JID]types.JID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[types.JID]types.JID, len(pns))
	for _, pn := range pns {
		if pn.Server != types.DefaultUserServer {
			continue
		}
		if lid := s.altJID(pn); !lid.IsEmpty() {
			out[pn] = lid
		}
	}
	return out, nil
}
