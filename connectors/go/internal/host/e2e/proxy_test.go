package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// countingProxy is an HTTP proxy that knows CONNECT only.
type countingProxy struct {
	net.Listener
	tunnels atomic.Int64
	refuse  atomic.Bool
	stalled atomic.Int64

	// stall holds new tunnels until it is closed; nil holds none.
	stall atomic.Pointer[chan struct{}]

	mu   sync.Mutex
	open []net.Conn
}

func startProxy(t *testing.T) *countingProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &countingProxy{Listener: l}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

var wantedCredentials = "Basic " + base64.StdEncoding.EncodeToString([]byte("user:secret"))

func (p *countingProxy) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil || request.Method != http.MethodConnect {
		return
	}
	if p.refuse.Load() || request.Header.Get("Proxy-Authorization") != wantedCredentials {
		fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		return
	}
	if stall := p.stall.Load(); stall != nil {
		p.stalled.Add(1)
		<-*stall
	}
	there, err := net.Dial("tcp", request.Host)
	if err != nil {
		return
	}
	defer there.Close()
	p.mu.Lock()
	p.open = append(p.open, conn, there)
	p.mu.Unlock()
	p.tunnels.Add(1)
	fmt.Fprint(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(there, in) // ends with either side
		there.Close()
	}()
	_, _ = io.Copy(conn, there)
}

// cut ends all tunnels.
func (p *countingProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.open {
		conn.Close()
	}
	p.open = nil
}
