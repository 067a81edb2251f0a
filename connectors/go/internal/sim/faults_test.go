package sim_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.mau.fi/whatsmeow"
	"go.mau.fi/whatsmeow/types"
	"go.mau.fi/whatsmeow/types/events"

	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/server"
)

func TestDuplicateDeliveryIsOneEvent(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.Duplicate = 1 })
	say(t, a, company, "M1", "once")
	say(t, a, company, "M2", "more")
	c.awaitMessages("M1 once", "M2 more")
	if n := s.Server.Stats().Duplicated; n != 1 {
		t.Errorf("%d stanzas duplicated", n)
	}
	await(t, "an empty queue", func() bool { return queued(t, s, company) == 0 })
}

func TestCorruptCiphertextIsRecoveredUnderTheSameID(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.Corrupt = 1 })
	say(t, a, company, "M1", "precious")
	c.awaitMessages("M1 precious")
	if lost := all[*events.UndecryptableMessage](c); len(lost) != 1 || lost[0].Info.ID != "M1" {
		t.Errorf("undecryptable events: %+v", lost)
	}
	await(t, "an empty queue", func() bool { return queued(t, s, company) == 0 })

	fault(t, s, ann, func(f *server.Faults) { f.Corrupt = 2 })
	check(t, c.write(ann, "OUT1", "one"))
	check(t, c.write(ann, "OUT2", "two"))
	awaitReceived(t, s, ann, 2)
	for _, r := range received(s, ann, true) {
		if r.Count != 1 {
			t.Errorf("%+v", r)
		}
	}
	await(t, "an empty queue", func() bool { return queued(t, s, ann) == 0 })
}

func TestSameIDUnderNewCiphertextIsTwoEvents(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.SameIDNewCiphertext = 1 })
	say(t, a, company, "M1", "again")
	c.awaitMessages("M1 again", "M1 again")

	fault(t, s, ann, func(f *server.Faults) { f.SameIDNewCiphertext = 1 })
	check(t, c.write(ann, "OUT1", "twice"))
	awaitReceived(t, s, ann, 2)
	if one := received(s, ann, true); len(one) != 1 || one[0].Count != 2 {
		t.Errorf("deduplicated: %+v", one)
	}
}

func TestHeldAckComesWhenReleased(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT0", "hello"))
	fault(t, s, company, func(f *server.Faults) { f.HoldAck = true })
	outcome := make(chan error, 1)
	go func() { outcome <- c.write(ann, "OUT1", "waiting") }()
	awaitReceived(t, s, ann, 2) // delivered although the sender does not know
	select {
	case err := <-outcome:
		t.Fatalf("the sender got its answer: %v", err)
	default:
	}
	fault(t, s, company, func(f *server.Faults) { f.HoldAck = false })
	check(t, <-outcome)
}

func TestDroppedAckNeverComesThoughTheMessageDoes(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT0", "hello"))
	fault(t, s, company, func(f *server.Faults) { f.DropAck = 1 })
	ctx, done := c.store.SendScope(t.Context())
	_, err := c.SendMessage(ctx, to(ann), words("lost"), whatsmeow.SendRequestExtra{ID: "OUT1", Timeout: 300 * time.Millisecond})
	done()
	if !errors.Is(err, whatsmeow.ErrMessageTimedOut) {
		t.Errorf("got %v", err)
	}
	awaitReceived(t, s, ann, 2)
	check(t, c.write(ann, "OUT2", "answered again"))
}

func TestHeldDeliveryComesInOrderWhenReleased(t *testing.T) {
	s := start(t, "")
	c, a := pair(t, s, company), contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.HoldDelivery = true })
	for _, id := range []string{"M1", "M2", "M3"} {
		say(t, a, company, id, "x")
	}
	c.reconnect() // what is held stays held over a login
	if got := c.got(); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
	fault(t, s, company, func(f *server.Faults) { f.HoldDelivery = false })
	c.awaitMessages("M1 x", "M2 x", "M3 x")
}

func TestAckErrorRefusesTheMessage(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.AckError = &server.AckError{Code: 463, N: 1} })
	err := c.write(ann, "OUT1", "no")
	if !errors.Is(err, whatsmeow.ErrServerReturnedError) || !strings.Contains(err.Error(), "463") {
		t.Errorf("got %v", err)
	}
	check(t, c.write(ann, "OUT2", "yes"))
	if got := awaitReceived(t, s, ann, 1); got[0].ID != "OUT2" || len(got) != 1 {
		t.Errorf("ann got %+v", got)
	}
}

func TestDroppedReceiptsDoNotArrive(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	fault(t, s, company, func(f *server.Faults) { f.DropReceipts = true })
	check(t, c.write(ann, "OUT1", "one"))
	awaitReceived(t, s, ann, 1)
	await(t, "the receipt to be dropped", func() bool { return s.Server.Stats().DroppedReceipts == 1 })
	fault(t, s, company, func(f *server.Faults) { f.DropReceipts = false })
	check(t, c.write(ann, "OUT2", "two"))
	await(t, "the other receipt", func() bool { return hasReceipt(c, types.ReceiptTypeDelivered, "OUT2") })
	if hasReceipt(c, types.ReceiptTypeDelivered, "OUT1") {
		t.Error("the dropped receipt came")
	}
}

func TestSlowNetworkDelaysAcks(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT0", "warm"))
	const delay = 120 * time.Millisecond
	fault(t, s, company, func(f *server.Faults) { f.DelayMS = int(delay.Milliseconds()) })
	began := time.Now()
	check(t, c.write(ann, "OUT1", "slow"))
	if took := time.Since(began); took < delay {
		t.Errorf("the ack took %s", took)
	}
}

func TestRateLimitIsAnError429(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	fault(t, s, company, func(f *server.Faults) { f.QueryLimit = 1 })
	if _, err := c.GetBlocklist(t.Context()); !errors.Is(err, whatsmeow.ErrIQRateOverLimit) {
		t.Errorf("got %v", err)
	}
	_, err := c.GetBlocklist(t.Context())
	check(t, err)
}

func TestKicks(t *testing.T) {
	s := start(t, "")
	for name, k := range map[string]struct {
		kick server.Kick
		seen func(*testing.T, *client)
	}{
		"replaced": {server.Kick{Conflict: "replaced"}, func(t *testing.T, c *client) { awaitEvent[*events.StreamReplaced](t, c) }},
		"removed": {server.Kick{Remove: true}, func(t *testing.T, c *client) {
			if e := awaitEvent[*events.LoggedOut](t, c); e.OnConnect {
				t.Error("logged out at connect")
			}
		}},
		"restart": {server.Kick{Code: "515"}, func(t *testing.T, c *client) {
			await(t, "a second login", func() bool { return len(all[*events.Connected](c)) == 2 })
		}},
		"unavailable": {server.Kick{Code: "503"}, func(t *testing.T, c *client) { awaitEvent[*events.Disconnected](t, c) }},
		"hard":        {server.Kick{Hard: true}, func(t *testing.T, c *client) { awaitEvent[*events.Disconnected](t, c) }},
	} {
		t.Run(name, func(t *testing.T) {
			phone := nextPhone()
			c := pair(t, s, phone)
			n, err := s.Server.Kick(phone, k.kick)
			check(t, err)
			if n != 1 {
				t.Errorf("kicked %d", n)
			}
			k.seen(t, c)
		})
	}
}

func TestRemovedDeviceIsRefusedAtItsNextLogin(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	items := c.store.Items()
	c.Disconnect()
	_, err := s.Server.Kick(company, server.Kick{Remove: true})
	check(t, err)
	again := newClient(t, s, restore(t, items))
	check(t, again.Connect())
	if e := awaitEvent[*events.LoggedOut](t, again); !e.OnConnect || e.Reason != events.ConnectFailureLoggedOut {
		t.Errorf("%+v", e)
	}
}

func TestSameKeysTwiceReplaceTheOlderLogin(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	a := contact(t, s, ann, false)
	second := newClient(t, s, restore(t, c.store.Items()))
	check(t, second.Connect())
	awaitEvent[*events.Connected](t, second)
	awaitEvent[*events.StreamReplaced](t, c)
	say(t, a, company, "M1", "who?")
	second.awaitMessages("M1 who?")
	if got := c.got(); len(got) != 0 {
		t.Errorf("the replaced client got %v", got)
	}
}

func TestFailedLogins(t *testing.T) {
	s := start(t, "")
	for name, f := range map[string]struct {
		failure server.Failure
		seen    func(*testing.T, *client)
	}{
		"401": {server.Failure{Reason: 401}, func(t *testing.T, c *client) { awaitEvent[*events.LoggedOut](t, c) }},
		"402": {server.Failure{Reason: 402, Code: 101, ExpireS: 3600}, func(t *testing.T, c *client) {
			if e := awaitEvent[*events.TemporaryBan](t, c); e.Code != events.TempBanSentToTooManyPeople || e.Expire != time.Hour {
				t.Errorf("%+v", e)
			}
		}},
		"403": {server.Failure{Reason: 403}, func(t *testing.T, c *client) { awaitEvent[*events.LoggedOut](t, c) }},
		"405": {server.Failure{Reason: 405}, func(t *testing.T, c *client) { awaitEvent[*events.ClientOutdated](t, c) }},
		"406": {server.Failure{Reason: 406}, func(t *testing.T, c *client) { awaitEvent[*events.LoggedOut](t, c) }},
		"503": {server.Failure{Reason: 503}, func(t *testing.T, c *client) { awaitEvent[*events.Disconnected](t, c) }},
	} {
		t.Run(name, func(t *testing.T) {
			phone := nextPhone()
			c := pair(t, s, phone)
			items := c.store.Items()
			c.Disconnect()
			f.failure.Times = 1
			check(t, s.Server.FailLogins(phone, f.failure))
			refused := newClient(t, s, restore(t, items))
			check(t, refused.Connect())
			f.seen(t, refused)
			refused.Disconnect()
			again := newClient(t, s, restore(t, items))
			check(t, again.Connect())
			awaitEvent[*events.Connected](t, again)
		})
	}
}

func TestContactIsPairedAnewAfterItsDeviceWasRemoved(t *testing.T) {
	s := start(t, "")
	c := pair(t, s, company)
	a := contact(t, s, ann, false)
	_, err := s.Server.Kick(ann, server.Kick{Remove: true})
	check(t, err)
	await(t, "ann to be logged out", func() bool { return a.View().State == contacts.StateLoggedOut })
	contact(t, s, ann, false)
	check(t, c.write(ann, "OUT1", "back?"))
	if got := awaitReceived(t, s, ann, 1)[0]; got.ID != "OUT1" {
		t.Errorf("ann got %+v", got)
	}
}
