package host

import (
	"time"

	"go.mau.fi/whatsmeow/types"
	"google.golang.org/protobuf/proto"

	"wharf/connectors/internal/hostpb"
	"wharf/connectors/internal/signalstore"
)

// Disappearing timers: learnt from what comes in, carried by what goes out. A phone shows a mismatch when a message into a
// timed chat does not carry the timer and the time it was set.

// learnTimer takes the timer that a received message tells and journals a change of it, in front of the message's own event.
func (s *session) learnTimer(mapped *hostpb.Event) bool {
	m := mapped.GetMessage()
	if mapped.Origin == hostpb.Origin_HISTORY || m.ChatKind != "user" && m.ChatKind != "group" {
		return true
	}
	timer, ok := timerOf(m)
	if !ok {
		return true
	}
	chat, err := types.ParseJID(m.Key.Chat)
	if err != nil {
		return true
	}
	changed, err := s.store.PutTimer(chat, timer)
	if err != nil {
		return false // the session has ended
	}
	if !changed {
		return true
	}
	return s.journal.append(nil, s.inOrder(&hostpb.Event{Body: &hostpb.Event_Chat{Chat: &hostpb.ChatEvent{
		Kind: "timer", Chat: m.Chat, Actor: m.Sender, TimerS: &timer.Seconds,
		TimerSetAtMs: millis(timer.SetAt), OccurredAtMs: m.OccurredAtMs,
	}}}))
}

// timerOf is what a message says about its chat's timer: a change of the setting always something, any other message only
// that there is one, since not every type of message carries it.
func timerOf(m *hostpb.IncomingMessage) (signalstore.Timer, bool) {
	c := m.GetContent().GetContext()
	set := time.UnixMilli(c.GetEphemeralSetAtMs())
	if m.GetContent().GetType() == "disappearing_timer" {
		if c.GetEphemeralSetAtMs() == 0 {
			set = time.UnixMilli(m.OccurredAtMs)
		}
		return signalstore.Timer{Seconds: m.Content.GetTimerS(), SetAt: set}, true
	}
	return signalstore.Timer{Seconds: c.GetEphemeralS(), SetAt: set}, c.GetEphemeralS() > 0
}

// addTimer puts the chat's timer into a message that does not say anything about it; nil when there is none to put.
func (s *session) addTimer(c *hostpb.Send) *signalstore.Timer {
	content := c.Content
	if content == nil || content.Type != "text" && content.Type != "edit" ||
		content.Context != nil && content.Context.EphemeralS != nil {
		return nil
	}
	to, err := parseTo(c.To)
	if err != nil {
		return nil
	}
	timer, ok := s.store.Timer(to)
	if !ok || timer.Seconds <= 0 {
		return nil
	}
	if content.Context == nil {
		content.Context = &hostpb.Context{}
	}
	content.Context.EphemeralS = &timer.Seconds
	if set := millis(timer.SetAt); set != 0 {
		content.Context.EphemeralSetAtMs = proto.Int64(set)
	}
	return &timer
}
