package ledger

import (
	"testing"

	"wharf/connectors/internal/sim/database"
)

func TestDeduplicationCountsEventsUnderOneID(t *testing.T) {
	db, err := database.Open("")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Load(db)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []Received{
		{Recipient: "a", Sender: "x", ID: "1", Text: "first"},
		{Recipient: "a", Sender: "x", ID: "1", Text: "first again"},
		{Recipient: "a", Sender: "y", ID: "1"}, // ids are unique for a sender only
		{Recipient: "b", Sender: "x", ID: "1"},
	} {
		if n, want := l.AddReceived(r), []int{1, 2, 1, 1}[i]; n != want {
			t.Errorf("entry %d is event %d of its id, want %d", i, n, want)
		}
	}
	l.AddSent(Sent{Sender: "x", To: "a", ID: "1"})
	l.AddSent(Sent{Sender: "x", To: "a", ID: "1"})

	if got := l.Received(Filter{To: "a", Dedupe: true}); len(got) != 2 || got[0].Count != 2 || got[0].Text != "first" || got[1].Count != 1 {
		t.Errorf("deduplicated: %+v", got)
	}
	if got := l.Received(Filter{To: "a", From: "x"}); len(got) != 2 || got[0].Count != 1 || got[1].Text != "first again" {
		t.Errorf("each event: %+v", got)
	}
	if got := l.Sent(Filter{Dedupe: true}); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("accepted, deduplicated: %+v", got)
	}
	if got := l.Sent(Filter{}); len(got) != 2 {
		t.Errorf("accepted: %+v", got)
	}
	l.Clear()
	if sent, received := l.Counts(); sent+received != 0 || l.AddReceived(Received{Recipient: "a", Sender: "x", ID: "1"}) != 1 {
		t.Error("a cleared ledger remembers")
	}
}
