package signalstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// Message secrets (votes and edits refer to them), privacy tokens, the NCT salt.
const (
	prefixSecret = "m/"
	prefixToken  = "t/"
	itemNCTSalt  = "nc"
)

// secretName is a digest: a busy session keeps thousands, and nobody reads the names.
func secretName(chat, sender types.JID, id types.MessageID) string {
	sum := sha256.Sum256([]byte(chat.ToNonAD().String() + "/" + sender.ToNonAD().String() + "/" + id))
	return prefixSecret + base64.RawURLEncoding.EncodeToString(sum[:15])
}

// PutMessageSecrets keeps many secrets.
func (s *Store) PutMessageSecrets(ctx context.Context, inserts []store.MessageSecretInsert) error {
	for _, in := range inserts {
		if err := s.PutMessageSecret(ctx, in.Chat, in.Sender, in.ID, in.Secret); err != nil {
			return err
		}
	}
	return nil
}

// PutMessageSecret keeps a secret; the first one of a message stays.
func (s *Store) PutMessageSecret(ctx context.Context, chat, sender types.JID, id types.MessageID, secret []byte) error {
	name := secretName(chat, sender, id)
	return s.locked(func() error {
		if _, known := s.items[name]; known {
			return nil
		}
		return s.putAging(&s.secrets, name, stamped(s.opts.Now(), secret), isStep(ctx))
	})
}

// GetMessageSecret looks under both addresses of chat and sender and tells which sender it was.
func (s *Store) GetMessageSecret(_ context.Context, chat, sender types.JID, id types.MessageID) ([]byte, types.JID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.bothJIDs(chat) {
		for _, from := range s.bothJIDs(sender) {
			if value := s.items[secretName(c, from, id)]; len(value) >= stampSize {
				return value[stampSize:], from, nil
			}
		}
	}
	return nil, types.EmptyJID, nil
}

func (s *Store) bothJIDs(jid types.JID) []types.JID {
	jid = jid.ToNonAD()
	if alt := s.altJID(jid); !alt.IsEmpty() {
		return []types.JID{jid, alt}
	}
	return []types.JID{jid}
}

// A token's value: timestamp and sender timestamp (seconds, 0 = none), then the token.
func encodeToken(t store.PrivacyToken) []byte {
	out := binary.BigEndian.AppendUint64(nil, uint64(unixOrZero(t.Timestamp)))
	out = binary.BigEndian.AppendUint64(out, uint64(unixOrZero(t.SenderTimestamp)))
	return append(out, t.Token...)
}

func decodeToken(name string, b []byte) (*store.PrivacyToken, error) {
	user, err := types.ParseJID(strings.TrimPrefix(name, prefixToken))
	if err != nil || len(b) < 16 {
		return nil, fmt.Errorf("signalstore: malformed privacy token %q (%d bytes)", name, len(b))
	}
	return &store.PrivacyToken{
		User: user, Token: b[16:],
		Timestamp:       timeOrZero(int64(binary.BigEndian.Uint64(b))),
		SenderTimestamp: timeOrZero(int64(binary.BigEndian.Uint64(b[8:]))),
	}, nil
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func timeOrZero(sec int64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}

// PutPrivacyTokens keeps tokens; an older one does not replace a newer one, a missing sender timestamp keeps the old.
func (s *Store) PutPrivacyTokens(ctx context.Context, tokens ...store.PrivacyToken) error {
	return s.locked(func() error {
		for _, t := range tokens {
			name := prefixToken + t.User.ToNonAD().String()
			if b, ok := s.items[name]; ok {
				old, err := decodeToken(name, b)
				if err != nil {
					return err
				}
				if unixOrZero(t.Timestamp) < unixOrZero(old.Timestamp) {
					continue
				}
				if t.SenderTimestamp.IsZero() {
					t.SenderTimestamp = old.SenderTimestamp
				}
			}
			if err := s.put(name, encodeToken(t), isStep(ctx)); err != nil {
				return err
			}
		}
		return nil
	})
}

// GetPrivacyToken gives the newest token under either address of the user.
func (s *Store) GetPrivacyToken(_ context.Context, user types.JID) (*store.PrivacyToken, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *store.PrivacyToken
	for _, jid := range s.bothJIDs(user) {
		name := prefixToken + jid.String()
		b, ok := s.items[name]
		if !ok {
			continue
		}
		t, err := decodeToken(name, b)
		if err != nil {
			return nil, err
		}
		if best == nil || t.Timestamp.After(best.Timestamp) {
			best = t
		}
	}
	if best != nil {
		best.User = user.ToNonAD()
	}
	return best, nil
}

// DeleteExpiredPrivacyTokens removes tokens older than cutoff.
func (s *Store) DeleteExpiredPrivacyTokens(_ context.Context, cutoff time.Time) (deleted int64, err error) {
	err = s.locked(func() error {
		for _, name := range s.names(prefixToken) {
			t, err := decodeToken(name, s.items[name])
			if err != nil {
				return err
			}
			if unixOrZero(t.Timestamp) >= cutoff.Unix() {
				continue
			}
			if err := s.remove(name, false); err != nil {
				return err
			}
			deleted++
		}
		return nil
	})
	return deleted, err
}

// PutNCTSalt keeps the salt.
func (s *Store) PutNCTSalt(ctx context.Context, salt []byte) error {
	return s.locked(func() error { return s.put(itemNCTSalt, salt, isStep(ctx)) })
}

// GetNCTSalt gives the salt, nil if there is none.
func (s *Store) GetNCTSalt(context.Context) ([]byte, error) { return s.get(itemNCTSalt), nil }

// DeleteNCTSalt forgets the salt.
func (s *Store) DeleteNCTSalt(ctx context.Context) error {
	return s.locked(func() error { return s.remove(itemNCTSalt, isStep(ctx)) })
}
