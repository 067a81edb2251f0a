package signalstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"go.mau.fi/whatsmeow/types"
)

// Disappearing timers of chats, and the contacts whose presence is followed. Both are bounded: the oldest go.
const (
	prefixTimer = "et/"
	prefixWatch = "pw/"

	maxTimers   = 2_000
	maxWatched  = 500
	neverTooOld = time.Duration(math.MaxInt64)
)

// Timer is a chat's disappearing timer: seconds (0: switched off) and when it was set.
type Timer struct {
	Seconds int32
	SetAt   time.Time
}

const timerSize = stampSize + 4 + 8

// PutTimer keeps the timer of a chat unless a newer one is known; tells whether the seconds changed. A chat that was never
// timed does not change by being told that it is not.
func (s *Store) PutTimer(chat types.JID, timer Timer) (changed bool, err error) {
	err = s.locked(func() error {
		name, known, ok := s.timer(chat)
		switch {
		case ok && timer.SetAt.Unix() < known.SetAt.Unix(), !ok && timer.Seconds == 0:
			return nil
		case !ok:
			name = prefixTimer + chat.ToNonAD().String()
		}
		changed = timer.Seconds != known.Seconds
		value := stamped(s.opts.Now())
		value = binary.BigEndian.AppendUint32(value, uint32(timer.Seconds))
		value = binary.BigEndian.AppendUint64(value, uint64(timer.SetAt.Unix()))
		return s.putAging(&s.timers, name, value, false)
	})
	return changed, err
}

// Timer gives the timer of a chat, under whichever of its addresses it was learnt.
func (s *Store) Timer(chat types.JID) (Timer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, timer, ok := s.timer(chat)
	return timer, ok
}

func (s *Store) timer(chat types.JID) (name string, t Timer, ok bool) {
	for _, jid := range s.bothJIDs(chat) {
		name = prefixTimer + jid.String()
		if value := s.items[name]; len(value) == timerSize {
			t.Seconds = int32(binary.BigEndian.Uint32(value[stampSize:]))
			t.SetAt = time.Unix(int64(binary.BigEndian.Uint64(value[stampSize+4:])), 0)
			return name, t, true
		}
	}
	return name, t, false
}

// Watch remembers a contact whose presence is followed.
func (s *Store) Watch(contact types.JID) error {
	return s.locked(func() error {
		name := prefixWatch + contact.ToNonAD().String()
		if _, known := s.items[name]; known {
			return nil
		}
		return s.putAging(&s.watched, name, stamped(s.opts.Now()), false)
	})
}

// Watched gives the contacts whose presence is followed.
func (s *Store) Watched() ([]types.JID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.JID
	for _, name := range s.names(prefixWatch) {
		jid, err := types.ParseJID(name[len(prefixWatch):])
		if err != nil {
			return nil, fmt.Errorf("signalstore: %q: %w", name, err)
		}
		out = append(out, jid)
	}
	return out, nil
}
