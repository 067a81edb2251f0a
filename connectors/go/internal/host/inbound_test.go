package host

import "testing"

func TestAnswers(t *testing.T) {
	k := stanzaKey{"ID", "from", ""}
	plain := answer{key: k, receiptType: "inactive"}
	ack := answer{key: k, ack: true}
	retry := answer{key: k, receiptType: "retry"}
	type step struct {
		do   string // event, none (no event due), old (old counter) or answer
		a    answer
		want verdict
	}
	for name, tc := range map[string]struct {
		peer  bool
		steps []step
		left  int
	}{
		"message":           {false, []step{{do: "event"}, {"answer", plain, answerPlain}}, 0},
		"seen before":       {false, []step{{do: "old"}, {"answer", plain, answerPlain}}, 0},
		"only a sender key": {false, []step{{do: "none"}, {"answer", plain, answerPlain}}, 0},
		"undecryptable":     {false, []step{{"answer", retry, answerEarly}, {"answer", ack, answerEarly}, {do: "event"}}, 0},
		"no more retries":   {false, []step{{"answer", ack, answerEarly}, {do: "event"}}, 0},
		"sender key, then undecryptable": {
			false, []step{{do: "none"}, {"answer", retry, answerEarly}, {"answer", ack, answerEarly}, {do: "event"}}, 0},
		"bot without secret": {false, []step{{"answer", answer{key: k, ack: true, code: "495"}, answerEarly}, {do: "event"}}, 0},
		"newsletter":         {false, []step{{do: "event"}, {"answer", ack, answerPlain}}, 0},
		"invalid protobuf":   {false, []step{{"answer", answer{key: k, ack: true, code: "491"}, answerLost}}, 0},
		"unknown encryption": {false, []step{{"answer", plain, answerLost}}, 0},
		"peer, extra receipt first": {true, []step{
			{"answer", answer{key: k, receiptType: "peer_msg"}, answerEarly}, {do: "event"}, {"answer", answer{key: k, receiptType: "peer_msg"}, answerPlain}}, 0},
		"history receipt": {false, []step{{"answer", answer{key: k, receiptType: "hist_sync"}, answerPlain}, {do: "event"}, {"answer", plain, answerPlain}}, 0},
		"read receipt of ours": {
			false, []step{{"answer", answer{key: k, receiptType: "read"}, answerPlain}}, 1},
		"answer of nothing": {false, []step{{"answer", answer{key: stanzaKey{"X", "y", ""}, receiptType: "inactive"}, answerPlain}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var in inbound
			j := newJournal(1, func() {})
			in.received(&stanza{key: k, peer: tc.peer})
			expected := false
			for i, s := range tc.steps {
				switch s.do {
				case "event":
					if e := in.dispatched("ID", true); (e != nil) != expected {
						t.Errorf("step %d: settles %v, want %v", i, e != nil, expected)
					}
				case "none":
					in.dispatched("ID", false)
				case "old":
					in.decrypted(true)
				case "answer":
					v, _ := in.answered(s.a, j.expect)
					if v != s.want {
						t.Errorf("step %d: verdict %d, want %d", i, v, s.want)
					}
					expected = expected || v == answerEarly
				}
			}
			if len(in.queue) != tc.left {
				t.Errorf("%d stanzas left, want %d", len(in.queue), tc.left)
			}
		})
	}
}

// A retry receipt whose stanza is not known any more (a reconnect) still waits for its event.
func TestAnswerAfterReconnect(t *testing.T) {
	var in inbound
	j := newJournal(1, func() {})
	k := stanzaKey{"ID", "from", ""}
	in.received(&stanza{key: k})
	in.reset()
	if v, _ := in.answered(answer{key: k, receiptType: "retry"}, j.expect); v != answerEarly {
		t.Fatalf("verdict %d", v)
	}
	in.reset()
	if e := in.dispatched("ID", true); e == nil {
		t.Error("the event settles nothing")
	}
}

func TestLost(t *testing.T) {
	var in inbound
	j := newJournal(1, func() {})
	k := stanzaKey{"ID", "from", ""}
	for _, late := range []bool{true, false} {
		in.received(&stanza{key: k})
		_, st := in.answered(answer{key: k, ack: true}, j.expect)
		if !late {
			in.dispatched("ID", true)
		}
		if in.lost(st) != late {
			t.Errorf("lost: want %v", late)
		}
		if len(in.queue) != 0 {
			t.Errorf("%d stanzas left", len(in.queue))
		}
	}
}

// Messages from several senders under one id, each answered in turn.
func TestSameIDs(t *testing.T) {
	var in inbound
	j := newJournal(1, func() {})
	a, b := stanzaKey{"ID", "a", ""}, stanzaKey{"ID", "b", ""}
	in.received(&stanza{key: a})
	in.received(&stanza{key: b})
	in.received(&stanza{key: a})
	for _, k := range []stanzaKey{a, b} {
		in.dispatched("ID", true)
		if v, _ := in.answered(answer{key: k}, j.expect); v != answerPlain {
			t.Errorf("%v: verdict %d", k, v)
		}
	}
	in.decrypted(true)
	if v, _ := in.answered(answer{key: a}, j.expect); v != answerPlain || len(in.queue) != 0 {
		t.Errorf("duplicate: %d, %d left", v, len(in.queue))
	}
}
