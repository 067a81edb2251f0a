package signalstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
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

// A send and a decryption of the same session exclude each other, and no update is lost.
func TestRatchetLock(t *testing.T) {
	const rounds = 300
	s := newStore(t, Options{})
	ctx := context.Background()
	step := func(b []byte) []byte { return append(bytes.Clone(b), 1) }
	var wg sync.WaitGroup
	run := func(fn func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range rounds {
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	run(func() error {
		return s.DoDecryptionTxn(ctx, func(ctx context.Context) error {
			b, err := s.GetSession(ctx, "a:0")
			if err != nil {
				return err
			}
			return s.PutSession(ctx, "a:0", step(b))
		})
	})
	run(func() error {
		ctx, done := s.SendScope(ctx)
		defer done()
		m, err := s.GetManySessions(ctx, []string{"a:0"})
		if err != nil {
			return err
		}
		return s.PutManySessions(ctx, map[string][]byte{"a:0": step(m["a:0"])})
	})
	run(func() error {
		b, err := s.GetSession(ctx, "a:0")
		if err != nil {
			return err
		}
		return s.PutSession(ctx, "a:0", step(b))
	})
	wg.Wait()
	if n := len(s.get("s/a:0")); n != 3*rounds {
		t.Errorf("%d of %d updates survived", n, 3*rounds)
	}
}

// What ends without storing gives the lock back.
func TestRatchetLockIsGivenBack(t *testing.T) {
	ctx := context.Background()
	for name, leave := range map[string]func(*testing.T, *Store){
		"send that failed": func(t *testing.T, s *Store) {
			ctx, done := s.SendScope(ctx)
			if _, err := s.GetManySessions(ctx, []string{"a:0"}); err != nil {
				t.Fatal(err)
			}
			done()
		},
		"decryption that failed": func(t *testing.T, s *Store) {
			want := errors.New("bad")
			if err := s.DoDecryptionTxn(ctx, func(ctx context.Context) error {
				_, err := s.GetSession(ctx, "a:0")
				return errors.Join(err, want)
			}); !errors.Is(err, want) {
				t.Fatal(err)
			}
		},
		"untrusted identity": func(t *testing.T, s *Store) {
			if err := s.PutIdentity(ctx, "a:0", [32]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.GetSession(ctx, "a:0"); err != nil {
				t.Fatal(err)
			}
			if ok, _ := s.IsTrustedIdentity(ctx, "a:0", [32]byte{2}); ok {
				t.Fatal("trusted")
			}
		},
		"left behind": func(t *testing.T, s *Store) {
			if _, err := s.GetSession(ctx, "b:0"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, Options{})
			leave(t, s)
			got := make(chan error, 1)
			go func() {
				got <- s.DoDecryptionTxn(ctx, func(context.Context) error { return nil })
			}()
			select {
			case err := <-got:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(3 * anonymousLease):
				t.Error("the lock was kept")
			}
		})
	}
}

// Close wakes who waits for the lock and refuses every write.
func TestClose(t *testing.T) {
	journal := &replayer{state: map[string][]byte{}}
	s := newStore(t, Options{Journal: journal})
	ctx, done := s.SendScope(context.Background())
	defer done()
	if _, err := s.GetManySessions(ctx, []string{"a:0"}); err != nil {
		t.Fatal(err)
	}
	waiter := make(chan error, 1)
	go func() { waiter <- s.DoDecryptionTxn(context.Background(), func(context.Context) error { return nil }) }()
	s.Close()
	if err := <-waiter; !errors.Is(err, ErrClosed) {
		t.Errorf("waiter: %v", err)
	}
	if err := s.PutManySessions(ctx, map[string][]byte{"a:0": {1}}); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if journal.changes != 0 {
		t.Error("journaled after the end")
	}
}

func TestDeviceSurvives(t *testing.T) {
	journal := &replayer{state: map[string][]byte{}}
	s := newStore(t, Options{Journal: journal})
	d := s.Device()
	if again := s.Device(); again.RegistrationID != d.RegistrationID || *again.NoiseKey.Priv != *d.NoiseKey.Priv {
		t.Error("an unpaired device changes its keys")
	}
	if journal.changes != 0 || s.Paired() {
		t.Error("an unpaired device is journaled")
	}
	id := jid("491", types.DefaultUserServer)
	id.Device = 7
	d.ID, d.LID = &id, jid("100", types.HiddenUserServer)
	d.Account = &waAdv.ADVSignedDeviceIdentity{Details: []byte{1}, AccountSignatureKey: []byte{2}}
	d.PushName = "we"
	if err := d.Save(context.Background()); err != nil {
		t.Fatal(err)
	}
	again, err := New(journal.items(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := again.Device()
	if got.GetJID() != id || got.LID != d.LID || *got.IdentityKey.Priv != *d.IdentityKey.Priv || got.PushName != "we" ||
		*got.SignedPreKey.Signature != *d.SignedPreKey.Signature || !bytes.Equal(got.AdvSecretKey, d.AdvSecretKey) || !proto.Equal(got.Account, d.Account) {
		t.Errorf("device %+v", got)
	}
	if self := again.Self(); len(self) != 2 || self[0].Device != 0 {
		t.Errorf("self %v", self)
	}
	if err := got.Delete(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !again.Paired() {
		t.Error("whatsmeow deleted the state")
	}
	if err := s.Clear(); err != nil {
		t.Fatal(err)
	}
	if len(journal.state) != 0 || s.Paired() || *s.Device().NoiseKey.Priv == *d.NoiseKey.Priv {
		t.Error("Clear left something")
	}
}

// Retry plaintexts and secrets are bounded, the oldest go first.
func TestAging(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := newStore(t, Options{Retries: 10, Now: func() time.Time { return now }})
	ctx := context.Background()
	chat, alt := jid("1", types.HiddenUserServer), jid("491", types.DefaultUserServer)
	if err := s.PutLIDMapping(ctx, chat, alt); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		now = now.Add(time.Second)
		if err := s.AddOutgoingEvent(ctx, chat, fmt.Sprintf("M%02d", i), "wa", []byte{0, 1, byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for i := range 30 {
		if format, b, err := s.GetOutgoingEvent(ctx, alt, chat, fmt.Sprintf("M%02d", i)); err != nil {
			t.Fatal(err)
		} else if format == "wa" {
			kept++
			if i < 18 || !bytes.Equal(b, []byte{0, 1, byte(i)}) {
				t.Errorf("M%02d is kept: %v", i, b)
			}
		}
	}
	if kept < 10 || kept > 11 {
		t.Errorf("%d are kept", kept)
	}
	if err := s.ForgetOutgoingEvent(alt, "M29"); err != nil {
		t.Fatal(err)
	}
	if format, _, _ := s.GetOutgoingEvent(ctx, chat, types.EmptyJID, "M29"); format != "" {
		t.Error("a forgotten one is kept")
	}
	now = now.Add(8 * 24 * time.Hour)
	if err := s.DeleteOldOutgoingEvents(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(s.names(prefixRetry)); n != 0 {
		t.Errorf("%d are too old and kept", n)
	}
}

func TestMalformedItemsAreRefused(t *testing.T) {
	for _, item := range []Item{{"d", []byte("{")}, {"d", []byte("{}")}, {"p/0", []byte{1}}, {"p/0", make([]byte, 9)}} {
		if _, err := New([]Item{item}, Options{}); err == nil {
			t.Errorf("%s = %v was accepted", item.Name, item.Value)
		}
	}
	s, err := New([]Item{{"c/queue", []byte("not ours")}, {"x/ID", []byte("not ours")}}, Options{})
	if err != nil || len(s.Items()) != 0 {
		t.Errorf("foreign items: %v", err)
	}
}

func TestOtherStores(t *testing.T) {
	journal := &replayer{state: map[string][]byte{}}
	s := newStore(t, Options{Journal: journal})
	ctx := context.Background()
	her, chat := jid("1", types.DefaultUserServer), jid("g", types.GroupServer)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	changed, before, err := s.PutPushName(ctx, her, "Her")
	must(err)
	if !changed || before != "" {
		t.Error("first push name")
	}
	changed, before, err = s.PutPushName(ctx, her, "She")
	must(err)
	if !changed || before != "Her" {
		t.Error("second push name")
	}
	must(s.PutAllContactNames(ctx, []store.ContactEntry{{JID: her, FirstName: "H", FullName: "H R"}}))
	must(s.PutManyRedactedPhones(ctx, []store.RedactedPhoneEntry{{JID: her, RedactedPhone: "+49∙∙1"}}))
	must(s.PutMutedUntil(ctx, chat, store.MutedForever))
	must(s.PutPinned(ctx, chat, true))
	key := store.AppStateSyncKey{Data: []byte{1}, Fingerprint: []byte{2}, Timestamp: 5}
	must(s.PutAppStateSyncKey(ctx, []byte{0xA}, key))
	must(s.PutAppStateSyncKey(ctx, []byte{0xB}, store.AppStateSyncKey{Timestamp: 9}))
	must(s.PutAppStateSyncKey(ctx, []byte{0xA}, store.AppStateSyncKey{Timestamp: 4}))
	must(s.PutAppStateVersion(ctx, "regular", 3, [128]byte{7}))
	must(s.PutAppStateMutationMACs(ctx, "regular", 3, []store.AppStateMutationMAC{{IndexMAC: []byte{1}, ValueMAC: []byte{2}}, {IndexMAC: []byte{3}, ValueMAC: []byte{4}}}))
	must(s.DeleteAppStateMutationMACs(ctx, "regular", [][]byte{{3}}))
	must(s.PutPrivacyTokens(ctx, store.PrivacyToken{User: her, Token: []byte{1}, Timestamp: time.Unix(10, 0), SenderTimestamp: time.Unix(3, 0)}))
	must(s.PutPrivacyTokens(ctx, store.PrivacyToken{User: her, Token: []byte{2}, Timestamp: time.Unix(20, 0)}))
	must(s.PutPrivacyTokens(ctx, store.PrivacyToken{User: her, Token: []byte{3}, Timestamp: time.Unix(15, 0)}))
	must(s.PutNCTSalt(ctx, []byte{9}))

	again, err := New(journal.items(), Options{})
	must(err)
	for _, s := range []*Store{s, again} {
		c, err := s.GetContact(ctx, her)
		must(err)
		if !c.Found || c.PushName != "She" || c.FirstName != "H" || c.FullName != "H R" || c.RedactedPhone != "+49∙∙1" {
			t.Errorf("contact %+v", c)
		}
		if all, err := s.GetAllContacts(ctx); err != nil || len(all) != 1 || all[her] != c {
			t.Errorf("contacts %v %v", all, err)
		}
		set, err := s.GetChatSettings(ctx, chat)
		must(err)
		if !set.Found || !set.Pinned || set.Archived || !set.MutedUntil.Equal(store.MutedForever) {
			t.Errorf("chat %+v", set)
		}
		got, err := s.GetAppStateSyncKey(ctx, []byte{0xA})
		must(err)
		if got.Timestamp != 5 {
			t.Errorf("an older key replaced a newer one: %+v", got)
		}
		latest, err := s.GetLatestAppStateSyncKeyID(ctx)
		must(err)
		if !bytes.Equal(latest, []byte{0xB}) {
			t.Errorf("latest key %x", latest)
		}
		version, hash, err := s.GetAppStateVersion(ctx, "regular")
		must(err)
		if version != 3 || hash[0] != 7 {
			t.Errorf("version %d", version)
		}
		mac, _ := s.GetAppStateMutationMAC(ctx, "regular", []byte{1})
		gone, _ := s.GetAppStateMutationMAC(ctx, "regular", []byte{3})
		if !bytes.Equal(mac, []byte{2}) || gone != nil {
			t.Errorf("MACs %v %v", mac, gone)
		}
		token, err := s.GetPrivacyToken(ctx, her)
		must(err)
		if !bytes.Equal(token.Token, []byte{2}) || token.SenderTimestamp.Unix() != 3 {
			t.Errorf("token %+v", token)
		}
		if salt, _ := s.GetNCTSalt(ctx); !bytes.Equal(salt, []byte{9}) {
			t.Errorf("salt %v", salt)
		}
	}
	if n, err := s.DeleteExpiredPrivacyTokens(ctx, time.Unix(30, 0)); err != nil || n != 1 {
		t.Errorf("expired %d %v", n, err)
	}
}
