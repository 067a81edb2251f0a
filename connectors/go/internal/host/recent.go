package host

import (
	"fmt"
	"reflect"
	"sync"

	"go.mau.fi/whatsmeow"
)

// whatsmeow keeps the last 256 messages sent of every client in memory, 1.2 kB for the shortest text, and makes room for
// them at once. It needs none of them: the store has their plaintext for retry receipts (signalstore, "o/"). The map of
// them is unexported, as in guard.go.

// recent is that map, emptied after each send.
type recent struct {
	lock     *sync.RWMutex
	messages reflect.Value
}

// recentOf gives a new client a map without room in advance.
func recentOf(c *whatsmeow.Client) (*recent, error) {
	messages, err := private(c, "recentMessagesMap")
	if err != nil {
		return nil, err
	}
	if messages.Kind() != reflect.Map {
		return nil, fmt.Errorf("whatsmeow's recent messages are %s: this must be adapted to this version", messages.Type())
	}
	guard, err := private(c, "recentMessagesLock")
	if err != nil {
		return nil, err
	}
	lock, ok := guard.Addr().Interface().(*sync.RWMutex)
	if !ok {
		return nil, fmt.Errorf("whatsmeow's lock of recent messages is %s: this must be adapted to this version", guard.Type())
	}
	messages.Set(reflect.MakeMap(messages.Type()))
	return &recent{lock: lock, messages: messages}, nil
}

func (r *recent) forget() {
	if r == nil {
		return // the session was torn down for want of it
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.messages.Clear()
}
