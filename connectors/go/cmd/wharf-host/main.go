// Command wharf-host runs WhatsApp sessions for the connector that started it. Its connection is file descriptor 3.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"wharf/connectors/internal/host"
)

// version is set at link time.
var version = "dev"

// connectorFD is where the connector leaves its end of the socket pair.
const connectorFD = 3

func main() {
	if err := run(); err != nil {
		slog.Error("host failed", "error", err)
		os.Exit(1)
	}
}

func run() error {
	telemetry := flag.String("telemetry", "", "address of /metrics and /healthz, e.g. 127.0.0.1:0; empty: none")
	level := flag.String("log-level", "info", "debug, info, warn or error")
	allowCrash := flag.Bool("allow-crash", false, "tests only: accept crash points and mutants")
	mutant := flag.String("mutant", "", "tests only: switch one mechanism off")
	flag.Parse()

	var lvl slog.Level
	if err := lvl.UnmarshalText([]byte(*level)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: lvl}))
	slog.SetDefault(log)

	conn, err := inherited()
	if err != nil {
		return err
	}
	h, err := host.New(conn, host.Config{Log: log, AllowCrash: *allowCrash, Mutant: *mutant, Version: version})
	if err != nil {
		return err
	}
	if *telemetry != "" {
		if err := serve(*telemetry, h.Telemetry(), log); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return h.Run(ctx)
}

func inherited() (net.Conn, error) {
	f := os.NewFile(connectorFD, "connector")
	if f == nil {
		return nil, errors.New("no file descriptor 3: the host is started by a connector")
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("file descriptor 3 is no socket, the host is started by a connector: %w", err)
	}
	return conn, nil
}

func serve(address string, handler http.Handler, log *slog.Logger) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--telemetry: %w", err)
	}
	log.Info("telemetry", "address", l.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.Error("telemetry ended", "error", err)
		}
	}()
	return nil
}
