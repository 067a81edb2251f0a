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
const prefixRetry = "o/"

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

// AddOutgoingEvent keeps the plaintext of a sent message until its receipt comes.
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

// ForgetOutgoingEvent removes the plaintext of a message whose receipt came, under either address of its chat.
func (s *Store) ForgetOutgoingEvent(chat types.JID, id types.MessageID) error {
	return s.locked(func() error {
		if err := s.removeAging(&s.retries, retryName(chat, id), false); err != nil {
			return err
		}
		if alt := s.altJID(chat); !alt.IsEmpty() {
			return s.removeAging(&s.retries, retryName(alt, id), false)
		}
		return nil
	})
}
