// wharf-simulator is a simulated WhatsApp: `wharf-simulator` serves it, `wharf-simulator load` measures it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"wharf/connectors/internal/sim"
	"wharf/connectors/internal/sim/control"
)

// stopTime is how long an orderly stop may take.
const stopTime = 4500 * time.Millisecond

func main() {
	run := serve
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "load" {
		run, args = runLoad, args[1:]
	}
	err := run(args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintln(os.Stderr, "wharf-simulator:", err)
		os.Exit(1)
	}
}

func serve(args []string) error {
	flags := flag.NewFlagSet("wharf-simulator", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address for WhatsApp clients")
	controlAddress := flags.String("control", "127.0.0.1:0", "address of the control interface")
	data := flags.String("data", "", "directory for accounts, keys and queues; empty: memory only")
	portsFile := flags.String("ports-file", "", "file to write the addresses to, as JSON, when ready")
	parent := flags.Int("parent-fd", -1, "file descriptor whose end of file ends the simulator")
	verbose := flags.Bool("verbose", false, "log debug messages")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; the only subcommand is load", flags.Arg(0))
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("process", "simulator", "simulated", true)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *parent >= 0 {
		go watchParent(*parent, stop)
	}
	// Asked for before anything is opened, so that a taken port is told at once.
	listener, err := net.Listen("tcp", *controlAddress)
	if err != nil {
		return fmt.Errorf("listening for control: %w", err)
	}
	simulator, err := sim.Start(sim.Options{Listen: *listen, Data: *data, Now: time.Now, Log: log})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	info := simulator.Info(listener.Addr().String())
	web := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: control.Handler(control.Parts{
		Server: simulator.Server, Contacts: simulator.Contacts, Ledger: simulator.Ledger, Info: info,
		Healthy: simulator.Err, Metrics: control.Metrics(simulator.Server, simulator.Ledger), Log: log,
	})}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	if err = writePorts(*portsFile, info); err == nil {
		log.Info("simulator ready", "whatsapp", info.WhatsAppAddress, "media", info.MediaAddress, "control", info.ControlAddress, "data", *data)
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	log.Info("simulator stopping")
	// Whoever stops us waits five seconds.
	time.AfterFunc(stopTime, func() {
		log.Error("simulator did not stop in time")
		os.Exit(1)
	})
	return errors.Join(err, web.Close(), simulator.Close())
}

// watchParent ends the process orderly when whoever holds the other end of the pipe is gone.
func watchParent(fd int, stop func()) {
	pipe := os.NewFile(uintptr(fd), "parent")
	_, _ = io.Copy(io.Discard, pipe) // any end of the pipe means the same
	stop()
}

// writePorts replaces the file in one step, so that a reader never sees half of it.
func writePorts(path string, info sim.Info) error {
	if path == "" {
		return nil
	}
	content, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".ports-*")
	if err != nil {
		return fmt.Errorf("writing the ports file: %w", err)
	}
	_, err = temporary.Write(append(content, '\n'))
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing the ports file: %w", err), os.Remove(temporary.Name()))
	}
	return nil
}
