package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"wharf/connectors/internal/sim/load"
)

func runLoad(args []string) (err error) {
	flags := flag.NewFlagSet("wharf-simulator load", flag.ContinueOnError)
	pairs := flags.Int("pairs", 20, "pairs of contacts")
	messages := flags.Int("messages", 20_000, "messages in all")
	duplex := flags.Bool("duplex", false, "both sides of a pair write at the same time")
	cpu := flags.Int("cpu", 0, "processor to run on, alone; -1: all")
	data := flags.String("data", "", "directory to keep state in while measuring; empty: memory only")
	asJSON := flags.Bool("json", false, "print the result as JSON")
	minimum := flags.Float64("min-rate", 0, "fail below this many messages per second")
	timeout := flags.Duration("timeout", 5*time.Minute, "give up after")
	profile := flags.String("cpu-profile", "", "write a CPU profile to this file")
	if err = flags.Parse(args); err != nil {
		return err
	}
	if *pairs < 1 || *messages < 1 {
		return errors.New("pairs and messages must be 1 or more")
	}
	if *cpu >= 0 {
		if err = load.Pin(*cpu); err != nil {
			return err
		}
	}
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err = pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = file.Close()
		}()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	progress := func(stage string) { fmt.Fprintln(os.Stderr, stage) }
	result, err := load.Run(ctx, load.Options{Pairs: *pairs, Messages: *messages, Duplex: *duplex, Data: *data, Timeout: *timeout, Log: log, Progress: progress})
	if err != nil {
		return err
	}
	if err = show(result, *asJSON); err != nil {
		return err
	}
	if !result.Good() {
		return fmt.Errorf("%d lost, %d duplicates, %d not accepted", result.Lost, result.Duplicates, result.Failed)
	}
	if result.PerSecond < *minimum {
		return fmt.Errorf("%.0f messages/s are fewer than %.0f", result.PerSecond, *minimum)
	}
	return nil
}

func show(r load.Result, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	_, err := fmt.Printf(`%.0f messages/s on %d processor(s), %.3f ms CPU per message (both clients and server)
sent %d  received %d  lost %d  duplicates %d  undecryptable %d  not accepted %d
%d pairs, duplex %t, persistent %t, %.2f s after %.2f s of pairing, peak memory %.0f MiB
`, r.PerSecond, r.CPUs, r.CPUPerMessage, r.Sent, r.Received, r.Lost, r.Duplicates, r.Undecryptable, r.Failed,
		r.Pairs, r.Duplex, r.Persistent, r.Seconds, r.SetupSeconds, r.PeakRSSMiB)
	return err
}
