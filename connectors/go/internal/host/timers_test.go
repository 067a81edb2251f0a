package host

import (
	"testing"
	"time"

	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

func timersSet() time.Time { return time.Unix(1_800_000_000, 0) }

// timed is a session with a store and a journal, and nothing else.
func timed(t *testing.T) *session {
	t.Helper()
	s := &session{host: &Host{now: timersSet}, journal: newJournal(1, func() {})}
	var err error
	if s.store, err = signalstore.New(nil, signalstore.Options{Journal: s.journal}); err != nil {
		t.Fatal(err)
	}
	return s
}

func setting(seconds int32, atMs int64) *hostpb.Content {
	return &hostpb.Content{Type: "disappearing_timer", TimerS: &seconds, Context: &hostpb.Context{EphemeralSetAtMs: &atMs}}
}

func carrying(seconds int32, atMs int64) *hostpb.Content {
	return &hostpb.Content{Type: "text", Context: &hostpb.Context{EphemeralS: &seconds, EphemeralSetAtMs: &atMs}}
}

func TestLearningTimers(t *testing.T) {
	s := timed(t)
	chat := types.NewJID("7", types.HiddenUserServer)
	for _, step := range []struct {
		about   string
		content *hostpb.Content
		changed bool
		seconds int32
		setMs   int64
	}{
		{"nothing is known", &hostpb.Content{Type: "text"}, false, 0, 0},
		{"switched off what never was", setting(0, 1000), false, 0, 0},
		{"a message carries one", carrying(60, 5000), true, 60, 5000},
		{"a message without says nothing", &hostpb.Content{Type: "text"}, false, 60, 5000},
		{"set again", setting(60, 9000), false, 60, 9000},
		{"changed", setting(90, 10000), true, 90, 10000},
		{"an old message comes late", carrying(60, 9000), false, 90, 10000},
		{"switched off", setting(0, 20000), true, 0, 20000},
		{"an older setting comes late", setting(90, 10000), false, 0, 20000},
	} {
		mapped := &hostpb.Event{Body: &hostpb.Event_Message{Message: &hostpb.IncomingMessage{
			Key: &hostpb.MessageKey{Chat: chat.String()}, ChatKind: "user", OccurredAtMs: 77000, Content: step.content,
		}}}
		if !s.learnTimer(mapped) {
			t.Fatalf("%s: the session has ended", step.about)
		}
		var told []*hostpb.ChatEvent
		if entry := s.journal.take(); entry != nil {
			for _, e := range entry.Events {
				told = append(told, e.GetChat())
			}
		}
		if changed := len(told) == 1; changed != step.changed || changed && told[0].GetTimerS() != step.seconds {
			t.Errorf("%s: told %v", step.about, told)
		}
		timer, _ := s.store.Timer(chat)
		if timer.Seconds != step.seconds || millis(timer.SetAt) != step.setMs {
			t.Errorf("%s: %v", step.about, timer)
		}
	}
	restored, err := signalstore.New(s.store.Items(), signalstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if timer, ok := restored.Timer(chat); !ok || timer.Seconds != 0 || millis(timer.SetAt) != 20000 {
		t.Errorf("restored: %v %v", timer, ok)
	}
}

func TestCarryingTimers(t *testing.T) {
	s := timed(t)
	lid, pn := types.NewJID("7", types.HiddenUserServer), types.NewJID("491", types.DefaultUserServer)
	if err := s.store.PutLIDMapping(t.Context(), lid, pn); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.PutTimer(lid, signalstore.Timer{Seconds: 60, SetAt: timersSet()}); err != nil {
		t.Fatal(err)
	}
	send := func(to string, content *hostpb.OutgoingContent) (*signalstore.Timer, *hostpb.Context) {
		c := &hostpb.Send{To: to, Content: content}
		return s.addTimer(c), c.Content.Context
	}
	timer, context := send(pn.String(), &hostpb.OutgoingContent{Type: "text", Text: "x"})
	if timer == nil || context.GetEphemeralS() != 60 || context.GetEphemeralSetAtMs() != millis(timersSet()) {
		t.Errorf("a text under the other address: %v %v", timer, context)
	}
	for about, content := range map[string]*hostpb.OutgoingContent{
		"a reaction":           {Type: "reaction"},
		"a command's own word": {Type: "text", Context: &hostpb.Context{EphemeralS: proto.Int32(0)}},
	} {
		if timer, _ := send(pn.String(), content); timer != nil {
			t.Errorf("%s got %v", about, timer)
		}
	}
	if timer, _ := send("8@lid", &hostpb.OutgoingContent{Type: "text"}); timer != nil {
		t.Errorf("another chat got %v", timer)
	}
}
