package signalstore

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"go.mau.fi/whatsmeow/proto/waAdv"
	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"
)

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
	if format, _, _ := s.GetOutgoingEvent(ctx, chat, types.EmptyJID, "M29"); format != "wa" {
		t.Error("another device cannot ask for it any more")
	}
	now = now.Add(retryGrace)
	if err := s.ForgetOutgoingEvent(chat, "M28"); err != nil {
		t.Fatal(err)
	}
	if format, _, _ := s.GetOutgoingEvent(ctx, chat, types.EmptyJID, "M29"); format != "" {
		t.Error("a received one is kept after its time")
	}
	if format, _, _ := s.GetOutgoingEvent(ctx, chat, types.EmptyJID, "M28"); format != "wa" {
		t.Error("one went before its time")
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
