package sim_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

func TestStockClientPairsAndMessagesGoBothWays(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	say(t, a, company, "IN1", "hello")
	c.awaitMessages("IN1 hello")
	m := all[*events.Message](c)[0]
	if m.Info.Sender.Server != types.HiddenUserServer || m.Info.SenderAlt.User != ann || m.Info.PushName != "User "+ann {
		t.Errorf("message is from %s, alias %s, named %q", m.Info.Sender, m.Info.SenderAlt, m.Info.PushName)
	}
	check(t, c.write(ann, "OUT1", "good day"))
	got := awaitReceived(t, s, ann, 1)[0]
	if got.ID != "OUT1" || got.Sender != company || got.Text != "good day" {
		t.Errorf("ann got %+v", got)
	}
	sent := s.Ledger.Sent(ledger.Filter{From: company, To: ann})
	if len(sent) != 1 || sent[0].ID != "OUT1" || sent[0].Undeliverable {
		t.Errorf("ledger of accepted messages: %+v", sent)
	}
	if st := s.Server.Stats(); st.UnknownCount != 0 {
		t.Errorf("stanzas nobody knows: %v", st.Unknown)
	}
}

func TestTheLedgerTellsOnWhichConnectionAMessageCame(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT1", "one"))
	c.reconnect()
	check(t, c.write(ann, "OUT2", "two"))
	sent := s.Ledger.Sent(ledger.Filter{From: company, To: ann})
	first, second := sent[0], sent[1]
	if first.Connection >= second.Connection || first.LoginAtMS == 0 || first.LoginAtMS > first.AtMS || second.LoginAtMS < first.AtMS {
		t.Errorf("%+v, then %+v", first, second)
	}
}

func TestPairingByCode(t *testing.T) {
	s := start(t, "")
	c := newClient(t, s, nil)
	check(t, c.Connect())
	awaitEvent[*events.QR](t, c)
	if _, err := s.Server.EnterCode(t.Context(), company, "ABCD-EFGH"); !errors.Is(err, server.ErrNoLink) {
		t.Errorf("a code nobody asked for: %v", err)
	}
	code, err := c.PairPhone(t.Context(), company, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	check(t, err)
	jid, err := s.Server.EnterCode(t.Context(), company, code)
	check(t, err)
	awaitEvent[*events.Connected](t, c)
	if c.Store.GetJID() != jid {
		t.Errorf("client is %s, the phone linked %s", c.Store.GetJID(), jid)
	}
}

func TestWrongPairingCodeIsRefused(t *testing.T) {
	s := start(t, "")
	c := newClient(t, s, nil)
	check(t, c.Connect())
	awaitEvent[*events.QR](t, c)
	code, err := c.PairPhone(t.Context(), company, true, whatsmeow.PairClientChrome, "Chrome (Linux)")
	check(t, err)
	wrong := "1" + code[1:]
	if wrong == code {
		wrong = "2" + code[1:]
	}
	if jid, err := s.Server.EnterCode(t.Context(), company, wrong); err == nil {
		t.Errorf("a wrong code linked %s", jid)
	}
	if v, err := s.Server.Phone(company); err == nil && len(v.Devices) > 0 {
		t.Errorf("devices %+v", v.Devices)
	}
}

func TestReceiptsReachTheSender(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	check(t, c.write(ann, "OUT1", "hi"))
	await(t, "a delivery receipt", func() bool { return hasReceipt(c, types.ReceiptTypeDelivered, "OUT1") })
	check(t, a.Read(t.Context(), to(company), []string{"OUT1"}))
	await(t, "a read receipt", func() bool { return hasReceipt(c, types.ReceiptTypeRead, "OUT1") })
	await(t, "an empty queue", func() bool { return queued(t, s, company) == 0 && queued(t, s, ann) == 0 })
}

func hasReceipt(c *client, kind types.ReceiptType, id string) bool {
	for _, r := range all[*events.Receipt](c) {
		if r.Type == kind && r.MessageIDs[0] == id {
			return true
		}
	}
	return false
}

func TestQueueKeepsMessagesUntilTheyAreAcknowledged(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	c.refuse = func(*events.Message) bool { return true }
	say(t, a, company, "M1", "first")
	c.awaitMessages("M1 first")
	c.Disconnect()
	say(t, a, company, "M2", "second")
	if n := queued(t, s, company); n < 2 {
		t.Fatalf("%d stanzas in the queue", n)
	}
	// The ratchet has moved on for M1, so its redelivery is no event; M2 is new.
	c.refuse = nil
	c.reconnect()
	c.awaitMessages("M2 second")
	preview, done := awaitEvent[*events.OfflineSyncPreview](t, c), awaitEvent[*events.OfflineSyncCompleted](t, c)
	if preview.Messages != 2 || done.Count != preview.Total {
		t.Errorf("offline markers: %+v, %+v", preview, done)
	}
	await(t, "an empty queue", func() bool { return queued(t, s, company) == 0 })
	c.reconnect()
	awaitEvent[*events.OfflineSyncCompleted](t, c)
	if got := c.got(); len(got) != 0 {
		t.Errorf("delivered again after the acknowledgement: %v", got)
	}
}

func TestOwnDevicesGetACopyWithItsChat(t *testing.T) {
	s := start(t, "")
	c, second := pair(t, s, company), pair(t, s, company)
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT1", "hi"))
	second.awaitMessages("OUT1 hi")
	m := all[*events.Message](second)[0]
	if !m.Info.IsFromMe || m.Info.Chat.User != "100"+ann || m.Info.RecipientAlt.User != ann {
		t.Errorf("own copy in chat %s (%s), from me %t", m.Info.Chat, m.Info.RecipientAlt, m.Info.IsFromMe)
	}
	await(t, "the other device's receipt", func() bool { return hasReceipt(c, types.ReceiptTypeSender, "OUT1") })
}

func TestNewDeviceIsWrittenToAtOnce(t *testing.T) {
	s := start(t, "")
	a := contact(t, s, ann, false)
	first := pair(t, s, company)
	say(t, a, company, "M1", "one")
	first.awaitMessages("M1 one")
	unlink(t, first)
	again := pair(t, s, company)
	await(t, "ann to have heard of the new device", func() bool { return queued(t, s, ann) == 0 })
	say(t, a, company, "M2", "two")
	again.awaitMessages("M2 two")
}

// unlink is the query of Client.Logout, without its changes to the client's store.
func unlink(t *testing.T, c *client) {
	t.Helper()
	//lint:ignore SA1019 whatsmeow marks it as dangerous, which for a test of the server it is not
	_, err := c.DangerousInternals().SendIQ(t.Context(), whatsmeow.DangerousInfoQuery{
		Namespace: "md", Type: "set", To: types.ServerJID,
		Content: []waBinary.Node{{Tag: "remove-companion-device", Attrs: waBinary.Attrs{"jid": c.Store.GetJID(), "reason": "user_initiated"}}},
	})
	check(t, err)
}

func TestAutoReplyAnswersEachIDOnce(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, true)
	fault(t, s, ann, func(f *server.Faults) { f.SameIDNewCiphertext = 1 })
	check(t, c.write(ann, "OUT1", "anybody there?"))
	awaitReceived(t, s, ann, 2)
	check(t, c.write(ann, "OUT2", "again?"))
	awaitReceived(t, s, ann, 3)
	await(t, "two answers", func() bool { return len(c.got()) == 2 })
	for i, m := range all[*events.Message](c) {
		want := []string{"echo: anybody there?", "echo: again?"}[i]
		if m.Message.GetConversation() != want || !strings.HasPrefix(m.Info.ID, "3EB0") {
			t.Errorf("answer %d is %s %q", i, m.Info.ID, m.Message.GetConversation())
		}
	}
}

func TestQuotesAndMentionsArrive(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	message, err := contacts.Text("see @"+bob, contacts.Around{Quote: &contacts.Quote{ID: "Q1", Sender: company, Text: "what?"}, Mentions: []string{bob}})
	check(t, err)
	check(t, a.Send(t.Context(), to(company), "M1", message))
	info := awaitEvent[*events.Message](t, c).Message.GetExtendedTextMessage().GetContextInfo()
	if info.GetStanzaID() != "Q1" || info.GetMentionedJID()[0] != to(bob).String() || info.GetQuotedMessage().GetConversation() != "what?" {
		t.Errorf("context is %v", info)
	}
}

func TestPresenceAndTypingAreRelayed(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	say(t, a, company, "M1", "hi")
	c.awaitMessages("M1 hi")
	check(t, a.Type(t.Context(), to(company), true, false))
	if got := awaitEvent[*events.ChatPresence](t, c); got.State != types.ChatPresenceComposing || got.Sender.User != "100"+ann {
		t.Errorf("typing: %+v", got)
	}
	other := pair(t, s, bob)
	other.Store.PushName = "Bob"
	check(t, c.SubscribePresence(t.Context(), to(bob)))
	check(t, other.SendPresence(t.Context(), types.PresenceAvailable))
	await(t, "bob to be seen", func() bool {
		for _, p := range all[*events.Presence](c) {
			if !p.Unavailable && p.From.User == "100"+bob {
				return true
			}
		}
		return false
	})
	other.Disconnect()
	await(t, "bob to be gone", func() bool {
		seen := all[*events.Presence](c)
		return seen[len(seen)-1].Unavailable
	})
	if v, err := s.Server.Phone(bob); err != nil || v.Name != "Bob" {
		t.Errorf("bob is named %q, %v", v.Name, err)
	}
}

func TestPreKeysAreRefilled(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	preKeys := func() int {
		v, err := s.Server.Phone(ann)
		check(t, err)
		return v.Devices[0].PreKeys
	}
	device := types.NewADJID("100"+ann, types.LIDDomain, 1)
	for range preKeys() - 3 {
		//lint:ignore SA1019 whatsmeow marks it as dangerous, which for a test of the server it is not
		_, err := c.DangerousInternals().FetchPreKeys(t.Context(), []types.JID{device})
		check(t, err)
	}
	await(t, "more prekeys", func() bool { return preKeys() > 40 })
}

func TestMediaRoundTrip(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	blob := bytes.Repeat([]byte("picture "), 10_000)
	up, err := c.Upload(t.Context(), blob, whatsmeow.MediaImage)
	check(t, err)
	download := func() ([]byte, error) {
		return c.DownloadMediaWithPath(t.Context(), up.DirectPath, up.FileEncSHA256, up.FileSHA256, up.MediaKey, whatsmeow.MediaImage, "", false)
	}
	back, err := download()
	check(t, err)
	if !bytes.Equal(back, blob) {
		t.Error("the media came back changed")
	}
	fault(t, s, company, func(f *server.Faults) { f.MediaStatus = 410 })
	if _, err = download(); !errors.Is(err, whatsmeow.ErrMediaDownloadFailedWith410) {
		t.Errorf("got %v under media_status 410", err)
	}
}

func TestQueriesAreAnswered(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	ctx := t.Context()
	found, err := c.IsOnWhatsApp(ctx, []string{"+" + ann, "+4999999999"})
	check(t, err)
	if len(found) != 2 || !found[0].IsIn || found[1].IsIn || found[0].PhoneNumber.User != ann {
		t.Errorf("lookup: %+v", found)
	}
	info, err := c.GetUserInfo(ctx, []types.JID{to(ann)})
	check(t, err)
	if u := info[to(ann)]; u.LID.User != "100"+ann || len(u.Devices) != 1 {
		t.Errorf("user info: %+v", info)
	}
	settings, err := c.SetPrivacySetting(ctx, types.PrivacySettingTypeReadReceipts, types.PrivacySettingNone)
	check(t, err)
	fresh, err := c.TryFetchPrivacySettings(ctx, true)
	check(t, err)
	if fresh.ReadReceipts != types.PrivacySettingNone || settings.ReadReceipts != types.PrivacySettingNone {
		t.Errorf("privacy: %+v", fresh)
	}
	groups, err := c.GetJoinedGroups(ctx)
	check(t, err)
	if len(groups) != 0 {
		t.Errorf("groups: %v", groups)
	}
	if _, err = c.GetProfilePictureInfo(ctx, to(ann), nil); !errors.Is(err, whatsmeow.ErrProfilePictureNotSet) {
		t.Errorf("picture: %v", err)
	}
	if _, err = c.GetBusinessProfile(ctx, to(ann)); err == nil {
		t.Error("a business profile of nobody's")
	}
	await(t, "the unknown query to be listed", func() bool {
		st := s.Server.Stats()
		return st.UnknownCount == 1 && strings.Contains(st.Unknown[0], "w:biz")
	})
}

func TestBlockedSenderIsNotHeard(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	list, err := c.UpdateBlocklist(t.Context(), to(ann), events.BlocklistChangeActionBlock)
	check(t, err)
	if len(list.JIDs) != 1 {
		t.Fatalf("blocklist: %+v", list)
	}
	say(t, a, company, "M1", "unheard")
	if sent := s.Ledger.Sent(ledger.Filter{From: ann}); len(sent) != 1 || !sent[0].Undeliverable {
		t.Errorf("ledger: %+v", sent)
	}
	_, err = c.UpdateBlocklist(t.Context(), to(ann), events.BlocklistChangeActionUnblock)
	check(t, err)
	say(t, a, company, "M2", "heard")
	c.awaitMessages("M2 heard")
}

// Both meet at the same moment, which costs retries but no message.
func TestManyMessagesInBothDirections(t *testing.T) {
	s := start(t, "")
	a, b := contact(t, s, ann, false), contact(t, s, bob, false)
	const each = 60
	results := make(chan int, 2)
	go func() { results <- a.Flood(t.Context(), contacts.Flood{To: to(bob), Count: each, Prefix: "AB"}) }()
	go func() { results <- b.Flood(t.Context(), contacts.Flood{To: to(ann), Count: each, Prefix: "BA"}) }()
	if failed := <-results + <-results; failed != 0 {
		t.Fatalf("%d not accepted", failed)
	}
	for _, phone := range []string{ann, bob} {
		awaitReceived(t, s, phone, each)
		for _, r := range received(s, phone, true) {
			if r.Count != 1 || r.Text != fmt.Sprintf("text of %s", r.ID) {
				t.Errorf("%+v", r)
			}
		}
		if n := len(received(s, phone, true)); n != each {
			t.Errorf("%s got %d of %d", phone, n, each)
		}
	}
}
