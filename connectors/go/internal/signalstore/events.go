package signalstore

import (
	"context"
	"strings"
	"time"

	"go.mau.fi/whatsmeow/store"
	"go.mau.fi/whatsmeow/types"
)

// The event buffer: its decryption transaction is the ratchet lock (lock.go). It keeps no received plaintext: after a
// crash the message comes again to the state before it. It does keep the plaintext of what was sent, for retry receipts.
const (
	prefixRetry = "o/"
	retryGrace  = 10 * time.Minute
)

// received is a retry plaintext that its recipient's first device does not need any more.
type received struct {
	name string
	at   time.Time
}

// GetBufferedEvent never knows a message.
func (s *Store) GetBufferedEvent(context.Context, [32]byte) (*store.BufferedEvent, error) {
	return nil, nil
}

// PutBufferedEvent keeps nothing.
func (s *Store) PutBufferedEvent(context.Context, [32]byte, []byte, time.Time) error { return nil }

// ClearBufferedEventPlaintext has nothing to clear.
func (s *Store) ClearBufferedEventPlaintext(context.Context, [32]byte) error { return nil }

// DeleteOldBufferedHashes has nothing to delete.
func (s *Store) DeleteOldBufferedHashes(context.Context) error { return nil }

func retryName(chat types.JID, id types.MessageID) string {
	return prefixRetry + chat.ToNonAD().String() + "/" + id
}

// AddOutgoingEvent keeps the plaintext of a sent message until some time after its receipt.
func (s *Store) AddOutgoingEvent(_ context.Context, chat types.JID, id types.MessageID, format string, plaintext []byte) error {
	value := stamped(s.opts.Now(), []byte(format), []byte{0}, plaintext)
	return s.locked(func() error { return s.putAging(&s.retries, retryName(chat, id), value, false) })
}

// GetOutgoingEvent gives the plaintext of a sent message under either address of its chat. A message that is not kept any
// more has the format "": whatsmeow then drops the retry request.
func (s *Store) GetOutgoingEvent(_ context.Context, chat, altChat types.JID, id types.MessageID) (string, []byte, error) {
	value := s.get(retryName(chat, id))
	if value == nil && !altChat.IsEmpty() {
		value = s.get(retryName(altChat, id))
	}
	if len(value) < stampSize {
		return "", nil, nil
	}
	format, plaintext, _ := strings.Cut(string(value[stampSize:]), "\x00")
	return format, []byte(plaintext), nil
}

// DeleteOldOutgoingEvents removes what is too old to be asked for.
func (s *Store) DeleteOldOutgoingEvents(context.Context) error {
	return s.locked(func() error { return s.sweep(&s.retries) })
}

// ForgetOutgoingEvent removes the plaintext of a message whose receipt came, under either address of its chat, retryGrace
// later and with the next receipt: the recipient's other devices may still have to ask for theirs.
func (s *Store) ForgetOutgoingEvent(chat types.JID, id types.MessageID) error {
	return s.locked(func() error {
		now := s.opts.Now()
		for _, name := range []string{retryName(chat, id), retryName(s.altJID(chat), id)} {
			if _, kept := s.items[name]; kept {
				s.received = append(s.received, received{name, now})
			}
		}
		for len(s.received) > 0 && now.Sub(s.received[0].at) >= retryGrace {
			if err := s.removeAging(&s.retries, s.received[0].name, false); err != nil {
				return err
			}
			s.received = s.received[1:]
		}
		return nil
	})
}
