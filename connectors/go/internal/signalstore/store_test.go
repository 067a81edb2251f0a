package signalstore

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"pgregory.net/rapid"
)

// replayer is a journal that keeps the state it describes.
type replayer struct {
	state   map[string][]byte
	changes int
}

func (r *replayer) Record(c Change, _ bool) {
	r.changes++
	if c.Tombstone {
		delete(r.state, c.Name)
	} else {
		r.state[c.Name] = c.Value
	}
}

func (r *replayer) items() []Item {
	var out []Item
	for name, value := range r.state {
		out = append(out, Item{name, value})
	}
	return out
}

func jid(user, server string) types.JID { return types.NewJID(user, server) }

// model is what a store must answer, in the simplest form.
type model struct {
	sessions, identities, senderKeys map[string]string
	secrets                          map[string]string
	lids                             map[string]string // lid -> pn
	prekeys                          map[uint32]bool   // id -> uploaded
	high                             uint32
}

func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		journal := &replayer{state: map[string][]byte{}}
		now := time.Unix(1_700_000_000, 0)
		opts := Options{Journal: journal, Now: func() time.Time { return now }}
		s, err := New(nil, opts)
		if err != nil {
			t.Fatal(err)
		}
		m := model{
			sessions: map[string]string{}, identities: map[string]string{}, senderKeys: map[string]string{},
			secrets: map[string]string{}, lids: map[string]string{}, prekeys: map[uint32]bool{},
		}
		user := rapid.SampledFrom([]string{"1", "12", "2"})
		device := rapid.IntRange(0, 2)
		value := rapid.StringN(1, 4, 8)
		address := func(t *rapid.T) string { return fmt.Sprintf("%s:%d", user.Draw(t, "user"), device.Draw(t, "device")) }
		check := func(t *rapid.T, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"session": func(t *rapid.T) {
				a, v := address(t), value.Draw(t, "value")
				check(t, s.PutSession(ctx, a, []byte(v)))
				m.sessions[a] = v
			},
			"sessions of a send": func(t *rapid.T) {
				sendCtx, done := s.SendScope(ctx)
				defer done()
				a, v := address(t), value.Draw(t, "value")
				got, err := s.GetManySessions(sendCtx, []string{a, "none:0"})
				check(t, err)
				if string(got[a]) != m.sessions[a] || got["none:0"] != nil {
					t.Fatalf("sessions %v", got)
				}
				check(t, s.PutManySessions(sendCtx, map[string][]byte{a: []byte(v)}))
				m.sessions[a] = v
			},
			"delete sessions of a user": func(t *rapid.T) {
				u := user.Draw(t, "user")
				check(t, s.DeleteAllSessions(ctx, u))
				for d := range 3 {
					delete(m.sessions, fmt.Sprintf("%s:%d", u, d))
				}
			},
			"decrypt": func(t *rapid.T) {
				a, v := address(t), value.Draw(t, "value")
				check(t, s.DoDecryptionTxn(ctx, func(ctx context.Context) error {
					if _, err := s.GetSession(ctx, a); err != nil {
						return err
					}
					return s.PutSession(ctx, a, []byte(v))
				}))
				m.sessions[a] = v
			},
			"identity": func(t *rapid.T) {
				a := address(t)
				key := [32]byte{byte(rapid.IntRange(0, 2).Draw(t, "key"))}
				check(t, s.PutIdentity(ctx, a, key))
				m.identities[a] = string(key[:])
			},
			"migrate to lid": func(t *rapid.T) {
				u := user.Draw(t, "user")
				pn, lid := jid(u, types.DefaultUserServer), jid("9"+u, types.HiddenUserServer)
				check(t, s.MigratePNToLID(ctx, pn, lid))
				for d := range 3 {
					from, to := fmt.Sprintf("%s:%d", pn.SignalAddressUser(), d), fmt.Sprintf("%s:%d", lid.SignalAddressUser(), d)
					for _, of := range []map[string]string{m.sessions, m.identities} {
						if v, ok := of[from]; ok {
							of[to] = v
							delete(of, from)
						}
					}
				}
			},
			"prekeys": func(t *rapid.T) {
				n := rapid.Uint32Range(1, 40).Draw(t, "count")
				got, err := s.GetOrGenPreKeys(ctx, n)
				check(t, err)
				if uint32(len(got)) != n {
					t.Fatalf("%d keys instead of %d", len(got), n)
				}
				last := uint32(0)
				for _, k := range got {
					uploaded, known := m.prekeys[k.KeyID]
					if k.KeyID <= last || uploaded || !known && k.KeyID != m.high+1 {
						t.Fatalf("key %d after %d, highest %d, known %v, uploaded %v", k.KeyID, last, m.high, known, uploaded)
					}
					last = k.KeyID
					m.high = max(m.high, k.KeyID)
					m.prekeys[k.KeyID] = false
				}
			},
			"one prekey": func(t *rapid.T) {
				k, err := s.GenOnePreKey(ctx)
				check(t, err)
				if k.KeyID != m.high+1 {
					t.Fatalf("key %d, highest %d", k.KeyID, m.high)
				}
				m.high = k.KeyID
				m.prekeys[k.KeyID] = true
			},
			"upload prekeys": func(t *rapid.T) {
				upTo := rapid.Uint32Range(0, m.high+1).Draw(t, "up to")
				check(t, s.MarkPreKeysAsUploaded(ctx, upTo))
				for id := range m.prekeys {
					m.prekeys[id] = m.prekeys[id] || id <= upTo
				}
			},
			"use a prekey": func(t *rapid.T) {
				id := rapid.Uint32Range(0, m.high+1).Draw(t, "id")
				check(t, s.RemovePreKey(ctx, id))
				delete(m.prekeys, id)
			},
			"mapping": func(t *rapid.T) {
				lid, pn := user.Draw(t, "lid"), user.Draw(t, "pn")
				check(t, s.PutLIDMapping(ctx, jid(lid, types.HiddenUserServer), jid(pn, types.DefaultUserServer)))
				for l, p := range m.lids {
					if p == pn {
						delete(m.lids, l)
					}
				}
				m.lids[lid] = pn
			},
			"secret": func(t *rapid.T) {
				id, v := rapid.SampledFrom([]string{"A", "B"}).Draw(t, "id"), value.Draw(t, "value")
				chat := jid("c", types.GroupServer)
				check(t, s.PutMessageSecret(ctx, chat, jid("1", types.DefaultUserServer), id, []byte(v)))
				if _, ok := m.secrets[id]; !ok {
					m.secrets[id] = v
				}
			},
			"the same again changes nothing": func(t *rapid.T) {
				before := journal.changes
				for a, v := range m.sessions {
					check(t, s.PutSession(ctx, a, []byte(v)))
				}
				if journal.changes != before {
					t.Fatalf("%d changes of nothing", journal.changes-before)
				}
			},
			"begin again from the journal": func(t *rapid.T) {
				if s, err = New(journal.items(), opts); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for _, a := range []string{"1:0", "12:1", "2:2"} {
					has, _ := s.HasSession(ctx, a)
					if want, ok := m.sessions[a]; ok != has || string(s.get("s/"+a)) != want {
						t.Fatalf("session %s: %v %q, want %q", a, has, s.get("s/"+a), want)
					}
					if string(s.get("i/"+a)) != m.identities[a] {
						t.Fatalf("identity %s", a)
					}
				}
				uploaded := 0
				for _, isUp := range m.prekeys {
					if isUp {
						uploaded++
					}
				}
				for _, id := range []uint32{0, 1, 31, 32, 33, 64, m.high, m.high + 1} {
					key, err := s.GetPreKey(ctx, id)
					check(t, err)
					_, known := m.prekeys[id]
					if known != (key != nil) || known && key.KeyID != id {
						t.Fatalf("prekey %d: %v, want %v", id, key, known)
					}
				}
				if n, _ := s.UploadedPreKeyCount(ctx); n != uploaded {
					t.Fatalf("%d uploaded, want %d", n, uploaded)
				}
				for lid, pn := range m.lids {
					got, _ := s.GetPNForLID(ctx, jid(lid, types.HiddenUserServer))
					back, _ := s.GetLIDForPN(ctx, jid(pn, types.DefaultUserServer))
					if got.User != pn || back.User != lid {
						t.Fatalf("mapping %s-%s: %s, %s", lid, pn, got, back)
					}
				}
				for id, want := range m.secrets {
					secret, from, _ := s.GetMessageSecret(ctx, jid("c", types.GroupServer), jid("1", types.DefaultUserServer), id)
					if string(secret) != want || from.User != "1" {
						t.Fatalf("secret %s: %q of %s, want %q", id, secret, from, want)
					}
				}
				again, err := New(journal.items(), Options{})
				check(t, err)
				if a, b := s.Items(), again.Items(); !sameItems(a, b) {
					t.Fatalf("replayed %d items, have %d", len(b), len(a))
				}
			},
		})
	})
}

func sameItems(a, b []Item) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}

func newStore(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := New(nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
