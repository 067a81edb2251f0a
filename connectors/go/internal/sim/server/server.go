// Package server is the simulated WhatsApp itself: connections, pairing, login, queries and the relay of stanzas.
//
// Its rules: one lock guards all state (accounts, connections, faults, counters); nothing blocks while it is held.
// A message is acknowledged and delivered only after it is on file, in that order, so an accepted message survives
// the process. Whatever a client sends ends in an answer, a counter or the end of its own connection.
package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.mau.fi/whatsmeow/util/keys"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/database"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/wire"
)

// Options are what a server is made of.
type Options struct {
	Identity  *wire.Identity
	DB        *database.Database
	Accounts  *accounts.Directory
	Ledger    *ledger.Ledger
	MediaHost string // host:port that clients are told to send media to
	Now       func() time.Time
	Log       *slog.Logger
}

// Server is one simulated WhatsApp.
type Server struct {
	Options
	media *mediaStore
	stop  context.Context
	end   context.CancelFunc
	done  sync.WaitGroup

	mu          sync.Mutex
	lastConn    uint64
	conns       map[*conn]struct{}
	online      map[*accounts.Device]*conn
	refs        map[string]*conn                     // pairing refs shown as QR codes
	links       map[string]*conn                     // phones that a companion asked a code for
	watchers    map[string]map[*accounts.Device]bool // phone -> devices that know its device list
	subscribers map[string]map[*accounts.Device]bool // phone -> devices that follow its presence
	faults      map[string]*phoneFaults
	stats       stats
}

// New makes a server; it does nothing until its Handler is served.
func New(o Options) (*Server, error) {
	media, err := loadMedia(o.DB)
	if err != nil {
		return nil, err
	}
	stop, end := context.WithCancel(context.Background())
	return &Server{
		Options: o, media: media, stop: stop, end: end,
		conns: map[*conn]struct{}{}, online: map[*accounts.Device]*conn{}, refs: map[string]*conn{}, links: map[string]*conn{},
		watchers: map[string]map[*accounts.Device]bool{}, subscribers: map[string]map[*accounts.Device]bool{},
		faults: map[string]*phoneFaults{}, stats: newStats(),
	}, nil
}

// Handler serves the WebSocket and the media paths.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/chat", s.serveSocket)
	mux.HandleFunc("POST /mms/{type}/{token}", s.upload)
	mux.HandleFunc("DELETE /mms/{type}/{token}", s.discard)
	mux.HandleFunc("GET "+mediaPath+"{token}", s.download)
	return mux
}

// Close ends all connections and waits for their goroutines.
func (s *Server) Close() {
	s.mu.Lock()
	s.end()
	for c := range s.conns {
		c.hangUp()
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *Server) newEphemeral() *keys.KeyPair { return keys.NewKeyPair() }
