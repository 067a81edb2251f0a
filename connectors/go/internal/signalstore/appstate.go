package signalstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"

	"go.mau.fi/whatsmeow/store"
)

// App state: sync keys, versions with their hash, and the MAC of each mutation.
const (
	prefixSyncKey  = "ak/"
	prefixVersion  = "av/"
	prefixMutation = "am/"
)

// PutAppStateSyncKey keeps a key; an older one does not replace a newer one.
func (s *Store) PutAppStateSyncKey(ctx context.Context, id []byte, key store.AppStateSyncKey) error {
	value, err := json.Marshal(key)
	if err != nil {
		return err
	}
	name := prefixSyncKey + hex.EncodeToString(id)
	return s.locked(func() error {
		if b, ok := s.items[name]; ok {
			var old store.AppStateSyncKey
			if err := json.Unmarshal(b, &old); err != nil {
				return fmt.Errorf("signalstore: %s: %w", name, err)
			}
			if key.Timestamp <= old.Timestamp {
				return nil
			}
		}
		return s.put(name, value, isStep(ctx))
	})
}

// GetAppStateSyncKey gives a key, nil if unknown.
func (s *Store) GetAppStateSyncKey(_ context.Context, id []byte) (*store.AppStateSyncKey, error) {
	b := s.get(prefixSyncKey + hex.EncodeToString(id))
	if b == nil {
		return nil, nil
	}
	var key store.AppStateSyncKey
	return &key, json.Unmarshal(b, &key)
}

type namedKey struct {
	name string
	key  *store.AppStateSyncKey
}

// syncKeys are all keys, newest first.
func (s *Store) syncKeys() ([]namedKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []namedKey
	for _, name := range s.names(prefixSyncKey) {
		var key store.AppStateSyncKey
		if err := json.Unmarshal(s.items[name], &key); err != nil {
			return nil, fmt.Errorf("signalstore: %s: %w", name, err)
		}
		out = append(out, namedKey{name, &key})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].key.Timestamp > out[j].key.Timestamp })
	return out, nil
}

// GetLatestAppStateSyncKeyID gives the id of the newest key, nil if there is none.
func (s *Store) GetLatestAppStateSyncKeyID(context.Context) ([]byte, error) {
	all, err := s.syncKeys()
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return hex.DecodeString(all[0].name[len(prefixSyncKey):])
}

// GetAllAppStateSyncKeys gives all keys, newest first.
func (s *Store) GetAllAppStateSyncKeys(context.Context) ([]*store.AppStateSyncKey, error) {
	all, err := s.syncKeys()
	out := make([]*store.AppStateSyncKey, len(all))
	for i, k := range all {
		out[i] = k.key
	}
	return out, err
}

// PutAppStateVersion keeps the version and hash of a collection.
func (s *Store) PutAppStateVersion(ctx context.Context, name string, version uint64, hash [128]byte) error {
	value := append(binary.BigEndian.AppendUint64(nil, version), hash[:]...)
	return s.locked(func() error { return s.put(prefixVersion+name, value, isStep(ctx)) })
}

// GetAppStateVersion gives version 0 and an empty hash for an unknown collection.
func (s *Store) GetAppStateVersion(_ context.Context, name string) (uint64, [128]byte, error) {
	b := s.get(prefixVersion + name)
	if b == nil {
		return 0, [128]byte{}, nil
	}
	if len(b) != 8+128 {
		return 0, [128]byte{}, fmt.Errorf("signalstore: app state version %q of %d bytes", name, len(b))
	}
	return binary.BigEndian.Uint64(b), [128]byte(b[8:]), nil
}

// DeleteAppStateVersion forgets a collection: its version and, as they belong to it, its mutation MACs.
func (s *Store) DeleteAppStateVersion(ctx context.Context, name string) error {
	return s.locked(func() error {
		if err := s.removePrefix(prefixMutation+name+"/", isStep(ctx)); err != nil {
			return err
		}
		return s.remove(prefixVersion+name, isStep(ctx))
	})
}

func mutationName(name string, indexMAC []byte) string {
	return prefixMutation + name + "/" + hex.EncodeToString(indexMAC)
}

// PutAppStateMutationMACs keeps the value MACs with their version; the newest version of an index counts.
func (s *Store) PutAppStateMutationMACs(ctx context.Context, name string, version uint64, mutations []store.AppStateMutationMAC) error {
	return s.locked(func() error {
		for _, m := range mutations {
			item := mutationName(name, m.IndexMAC)
			if old := s.items[item]; len(old) >= 8 && binary.BigEndian.Uint64(old) > version {
				continue
			}
			value := append(binary.BigEndian.AppendUint64(nil, version), m.ValueMAC...)
			if err := s.put(item, value, isStep(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteAppStateMutationMACs forgets MACs.
func (s *Store) DeleteAppStateMutationMACs(ctx context.Context, name string, indexMACs [][]byte) error {
	return s.locked(func() error {
		for _, index := range indexMACs {
			if err := s.remove(mutationName(name, index), isStep(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
}

// GetAppStateMutationMAC gives a value MAC, nil if unknown.
func (s *Store) GetAppStateMutationMAC(_ context.Context, name string, indexMAC []byte) ([]byte, error) {
	b := s.get(mutationName(name, indexMAC))
	if len(b) < 8 {
		return nil, nil
	}
	return bytes.Clone(b[8:]), nil
}
