// Package sim puts the simulator together: server, contacts, media, and what they keep.
package sim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	signallog "go.mau.fi/libsignal/logger"
	"go.mau.fi/whatsmeow"

	"wharf/connectors/internal/sim/accounts"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/database"
	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
	"wharf/connectors/internal/sim/wire"
)

// Options of a simulator.
type Options struct {
	Listen string // address of the simulated WhatsApp
	Data   string // directory; empty: memory only
	Now    func() time.Time
	Log    *slog.Logger
}

// Simulator is a running simulated WhatsApp with its contacts.
type Simulator struct {
	Server   *server.Server
	Contacts *contacts.Pool
	Ledger   *ledger.Ledger

	db        *database.Database
	authority *authority
	root      [32]byte
	plain     net.Listener
	secure    net.Listener
	memory    *memoryListener
	web       *http.Server
	serving   sync.WaitGroup
	log       *slog.Logger
}

// Start brings a simulator up, with the state of an earlier one if its directory has any.
func Start(o Options) (*Simulator, error) {
	if o.Data != "" {
		if err := os.MkdirAll(o.Data, 0o700); err != nil {
			return nil, fmt.Errorf("data directory: %w", err)
		}
	}
	db, err := database.Open(o.Data)
	if err != nil {
		return nil, err
	}
	s := &Simulator{db: db, log: o.Log}
	if err = s.build(o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Simulator) build(o Options) error {
	root, err := loadRoot(s.db)
	if err != nil {
		return err
	}
	identity, err := wire.NewIdentity(root, o.Now())
	if err != nil {
		return err
	}
	s.root = identity.RootPublicKey()
	if s.authority, err = loadAuthority(s.db, o.Now()); err != nil {
		return err
	}
	directory, err := accounts.Load(s.db)
	if err != nil {
		return err
	}
	if s.Ledger, err = ledger.Load(s.db); err != nil {
		return err
	}
	if err = s.listen(o); err != nil {
		return err
	}
	s.Server, err = server.New(server.Options{
		Identity: identity, DB: s.db, Accounts: directory, Ledger: s.Ledger, MediaHost: s.secure.Addr().String(), Now: o.Now, Log: o.Log,
	})
	if err != nil {
		return err
	}
	s.serve()
	trustRoot(s.root)
	s.Contacts = contacts.NewPool(contacts.Options{
		Scan: s.Server.Scan, Name: func(phone, name string) { s.Server.CreatePhone(phone, name) }, Dial: s.memory.dial,
		DB: s.db, Ledger: s.Ledger, Now: o.Now, Log: o.Log,
	})
	return s.Contacts.Restore()
}

func (s *Simulator) listen(o Options) (err error) {
	if s.plain, err = net.Listen("tcp", o.Listen); err != nil {
		return fmt.Errorf("listening for clients: %w", err)
	}
	host, _, err := net.SplitHostPort(s.plain.Addr().String())
	if err != nil {
		return err
	}
	raw, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return fmt.Errorf("listening for media: %w", err)
	}
	certificate, err := s.authority.issue(host, o.Now())
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	s.secure = tls.NewListener(raw, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	s.memory = newMemoryListener()
	return nil
}

func (s *Simulator) serve() {
	s.web = &http.Server{Handler: s.Server.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	for _, l := range []net.Listener{s.plain, s.secure, s.memory} {
		s.serving.Add(1)
		go func() {
			defer s.serving.Done()
			if err := s.web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("listener failed", "address", l.Addr().String(), "error", err)
			}
		}()
	}
}

// trustRoot points whatsmeow in this process to the simulator's root; the library has this as a package variable.
func trustRoot(root [32]byte) {
	whatsmeow.WACertPubKey = root
	quiet()
}

var quiet = sync.OnceFunc(func() {
	var silent signallog.Loggable = silentSignal{}
	signallog.Setup(&silent)
})

// silentSignal keeps libsignal, which logs to standard output, quiet: what matters comes back as errors.
type silentSignal struct{}

func (silentSignal) Debug(_, _ string)   {}
func (silentSignal) Info(_, _ string)    {}
func (silentSignal) Warning(_, _ string) {}
func (silentSignal) Error(_, _ string)   {}
func (silentSignal) Configure(string)    {}

// Info is where the simulator is and what clients have to trust.
type Info struct {
	WhatsAppAddress string `json:"whatsapp_address"`
	RootPublicKey   string `json:"root_public_key"`
	TLSCAPEM        string `json:"tls_ca_pem"`
	MediaAddress    string `json:"media_address"`
	ControlAddress  string `json:"control_address"`
}

// Info tells how to reach this simulator.
func (s *Simulator) Info(control string) Info {
	return Info{
		WhatsAppAddress: s.plain.Addr().String(), RootPublicKey: fmt.Sprintf("%x", s.root), TLSCAPEM: s.authority.pem(),
		MediaAddress: s.secure.Addr().String(), ControlAddress: control,
	}
}

// Dial connects to the server inside the process.
func (s *Simulator) Dial(ctx context.Context) (net.Conn, error) { return s.memory.dial(ctx) }

// Err tells whether the simulator can still keep what it accepts.
func (s *Simulator) Err() error { return s.db.Err() }

// Close ends contacts first, then connections, then the database, so that everything said is on file.
func (s *Simulator) Close() error {
	var errs []error
	if s.Contacts != nil {
		s.Contacts.Close()
	}
	if s.Server != nil {
		s.Server.Close()
	}
	if s.web != nil {
		errs = append(errs, s.web.Close())
	} else {
		for _, l := range []net.Listener{s.plain, s.secure} {
			if l != nil {
				errs = append(errs, l.Close())
			}
		}
	}
	s.serving.Wait()
	return errors.Join(append(errs, s.db.Close())...)
}
