package sim_test

import (
	"bytes"
	"strings"
	"testing"

	"go.mau.fi/whatsmeow"

	"wharf/connectors/internal/signalstore"
	"wharf/connectors/internal/sim"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"

	"log/slog"
	"time"
)

func restore(t *testing.T, items []signalstore.Item) *signalstore.Store {
	t.Helper()
	st, err := signalstore.New(items, signalstore.Options{})
	check(t, err)
	return st
}

func TestStateSurvivesARestart(t *testing.T) {
	data := t.TempDir()
	first := open(t, data)
	c := pair(t, first, company)
	a := contact(t, first, ann, true)
	check(t, c.write(ann, "OUT1", "before"))
	c.awaitMessages(echoOf(t, first, "before"))
	up, err := c.Upload(t.Context(), []byte("kept"), whatsmeow.MediaImage)
	check(t, err)
	c.Disconnect()
	await(t, "the device to be gone", func() bool { v, _ := first.Server.Phone(company); return !v.Devices[0].Online })
	say(t, a, company, "IN1", "while you were away")
	items, info := c.store.Items(), first.Info("")
	check(t, first.Close())

	second := start(t, data)
	if again := second.Info(""); again.RootPublicKey != info.RootPublicKey || again.TLSCAPEM != info.TLSCAPEM {
		t.Error("the server has another identity after the restart")
	}
	if sent := second.Ledger.Sent(ledger.Filter{From: company}); len(sent) != 1 || sent[0].ID != "OUT1" {
		t.Errorf("ledger after the restart: %+v", sent)
	}
	c = newClient(t, second, restore(t, items))
	check(t, c.Connect())
	c.awaitMessages("IN1 while you were away")
	check(t, c.write(ann, "OUT2", "after"))
	await(t, "an answer", func() bool { return len(c.got()) == 2 })
	if got := received(second, ann, false); len(got) != 2 || got[1].ID != "OUT2" {
		t.Errorf("ann got %+v", got)
	}
	back, err := c.DownloadMediaWithPath(t.Context(), up.DirectPath, up.FileEncSHA256, up.FileSHA256, up.MediaKey, whatsmeow.MediaImage, "", false)
	check(t, err)
	if !bytes.Equal(back, []byte("kept")) {
		t.Errorf("media after the restart: %q", back)
	}
	second.Ledger.Clear()
}

// echoOf is how the harness shows ann's answer to a text.
func echoOf(t *testing.T, s *sim.Simulator, text string) string {
	t.Helper()
	await(t, "ann's answer", func() bool { return len(s.Ledger.Sent(ledger.Filter{From: ann})) == 1 })
	return s.Ledger.Sent(ledger.Filter{From: ann})[0].ID + " echo: " + text
}

func TestMessagesHeldForAContactAreReadAfterARestart(t *testing.T) {
	data := t.TempDir()
	first := open(t, data)
	c := pair(t, first, company)
	contact(t, first, ann, false)
	check(t, c.write(ann, "OUT1", "one"))
	awaitReceived(t, first, ann, 1)
	fault(t, first, ann, func(f *server.Faults) { f.HoldDelivery = true })
	check(t, c.write(ann, "OUT2", "two"))
	check(t, first.Close())

	second := start(t, data)
	got := awaitReceived(t, second, ann, 2)
	if got[0].ID != "OUT1" || got[1].ID != "OUT2" || len(got) != 2 {
		t.Errorf("ann got %+v", got)
	}
}

func TestClearedLedgerStaysClearAfterARestart(t *testing.T) {
	data := t.TempDir()
	first := open(t, data)
	a := contact(t, first, ann, false)
	contact(t, first, bob, false)
	say(t, a, bob, "M1", "x")
	awaitReceived(t, first, bob, 1)
	first.Ledger.Clear()
	say(t, a, bob, "M2", "y")
	awaitReceived(t, first, bob, 1)
	check(t, first.Close())
	second := start(t, data)
	if got := received(second, bob, false); len(got) != 1 || got[0].ID != "M2" {
		t.Errorf("ledger: %+v", got)
	}
}

func TestDirectoryIsUsedByOneSimulator(t *testing.T) {
	data := t.TempDir()
	start(t, data)
	_, err := sim.Start(sim.Options{Listen: "127.0.0.1:0", Data: data, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}
