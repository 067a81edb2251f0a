package sim

import (
	"context"
	"errors"
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// The connection inside the process behaves as any other does, deadlines and closing included.
func TestMemoryConnectionIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		l := newMemoryListener()
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				accepted <- c
			}
		}()
		client, err := l.dial(context.Background())
		if err != nil {
			return nil, nil, nil, err
		}
		server := <-accepted
		return client, server, func() { _ = errors.Join(client.Close(), server.Close(), l.Close()) }, nil
	})
}

func TestClosedListenerRefuses(t *testing.T) {
	l := newMemoryListener()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.dial(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
