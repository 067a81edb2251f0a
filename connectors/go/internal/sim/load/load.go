// Package load measures the simulator: contacts write real Signal-encrypted messages to each other through the server.
//
// Its rule: what counts is what the ledger says. A run is good only when each accepted message was decrypted by its
// recipient exactly once. Clients, server and both ends of the encryption are in the one measured process.
package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow/types"

	"wharf/connectors/internal/sim"
	"wharf/connectors/internal/sim/contacts"
	"wharf/connectors/internal/sim/ledger"
)

// Options of a run.
type Options struct {
	Pairs    int    // senders, each with a recipient of its own
	Messages int    // in all
	Duplex   bool   // recipients write back at the same time
	Data     string // directory; empty: memory only
	Timeout  time.Duration
	Log      *slog.Logger
	Progress func(stage string)
}

// Result of a run.
type Result struct {
	Pairs         int     `json:"pairs"`
	Duplex        bool    `json:"duplex"`
	Persistent    bool    `json:"persistent"`
	CPUs          int     `json:"cpus"` // that the process may use
	Sent          int     `json:"sent"`
	Received      int     `json:"received"`
	Lost          int     `json:"lost"`
	Duplicates    int     `json:"duplicates"`
	Undecryptable int64   `json:"undecryptable"`
	Failed        int64   `json:"failed"`
	Seconds       float64 `json:"seconds"`
	PerSecond     float64 `json:"messages_per_second"`
	CPUPerMessage float64 `json:"cpu_ms_per_message"`
	SetupSeconds  float64 `json:"setup_seconds"`
	PeakRSSMiB    float64 `json:"peak_rss_mib"`
}

// Good tells whether nothing was lost, doubled or refused.
func (r Result) Good() bool { return r.Lost == 0 && r.Duplicates == 0 && r.Failed == 0 && r.Sent > 0 }

const (
	firstPhone = 4_915_000_000_000
	warmPrefix = "WARM"
	loadPrefix = "LOAD"
	// pollEvery is how often the ledger is asked whether all has arrived.
	pollEvery = 2 * time.Millisecond
)

type flow struct {
	from *contacts.Contact
	to   types.JID
	n    int
}

// Run makes the contacts, lets each pair meet, and measures.
func Run(ctx context.Context, o Options) (result Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	began := time.Now()
	simulator, err := sim.Start(sim.Options{Listen: "127.0.0.1:0", Data: o.Data, Now: time.Now, Log: o.Log})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, simulator.Close()) }()
	o.Progress(fmt.Sprintf("pairing %d contacts", 2*o.Pairs))
	flows, err := meet(ctx, simulator, o)
	if err != nil {
		return Result{}, err
	}
	simulator.Ledger.Clear()
	result = Result{Pairs: o.Pairs, Duplex: o.Duplex, Persistent: o.Data != "", CPUs: usableCPUs(), SetupSeconds: time.Since(began).Seconds()}
	o.Progress(fmt.Sprintf("sending %d messages", o.Messages))

	start, startCPU := time.Now(), processCPU()
	result.Failed = send(ctx, flows, loadPrefix)
	arrived := awaitLedger(ctx, simulator.Ledger)
	result.Seconds = time.Since(start).Seconds()
	spent := processCPU() - startCPU
	if arrived != nil {
		err = fmt.Errorf("not all messages arrived: %w", arrived)
	}
	tally(&result, simulator, spent)
	return result, err
}

func tally(result *Result, simulator *sim.Simulator, spent time.Duration) {
	got := map[string]int{}
	for _, r := range simulator.Ledger.Received(ledger.Filter{Dedupe: true}) {
		got[r.Sender+r.Recipient+r.ID] = r.Count
		result.Received++
		result.Duplicates += r.Count - 1
	}
	for _, s := range simulator.Ledger.Sent(ledger.Filter{Dedupe: true}) {
		result.Sent++
		if got[s.Sender+s.To+s.ID] == 0 {
			result.Lost++
		}
	}
	for _, c := range simulator.Contacts.List() {
		result.Undecryptable += c.View().Undecryptable
	}
	result.PerSecond = float64(result.Received) / result.Seconds
	result.CPUPerMessage = float64(spent.Microseconds()) / 1000 / float64(max(result.Received, 1))
	result.PeakRSSMiB = peakRSS()
}

// meet pairs all contacts and exchanges a first message each way, so that what is measured is the steady state.
func meet(ctx context.Context, simulator *sim.Simulator, o Options) ([]flow, error) {
	people := make([]*contacts.Contact, 2*o.Pairs)
	for i := range people {
		c, err := simulator.Contacts.Create(ctx, strconv.Itoa(firstPhone+i), "", false)
		if err != nil {
			return nil, err
		}
		people[i] = c
	}
	var forth, back []flow
	for i := 0; i < len(people); i += 2 {
		a, b := people[i], people[i+1]
		forth = append(forth, flow{a, types.NewJID(b.Phone, types.DefaultUserServer), 1})
		back = append(back, flow{b, types.NewJID(a.Phone, types.DefaultUserServer), 1})
	}
	for _, flows := range [][]flow{forth, back} {
		if failed := send(ctx, flows, warmPrefix); failed > 0 {
			return nil, fmt.Errorf("%d of %d first messages were not accepted", failed, len(flows))
		}
		if err := awaitLedger(ctx, simulator.Ledger); err != nil {
			return nil, fmt.Errorf("first messages did not arrive: %w", err)
		}
	}
	if o.Duplex {
		forth = append(forth, back...)
	}
	for i := range forth {
		forth[i].n = o.Messages / len(forth)
		if i < o.Messages%len(forth) {
			forth[i].n++
		}
	}
	return forth, nil
}

func send(ctx context.Context, flows []flow, prefix string) int64 {
	var failed atomic.Int64
	var wait sync.WaitGroup
	for _, f := range flows {
		wait.Add(1)
		go func() {
			defer wait.Done()
			failed.Add(int64(f.from.Flood(ctx, contacts.Flood{To: f.to, Count: f.n, Prefix: prefix + f.from.Phone})))
		}()
	}
	wait.Wait()
	return failed.Load()
}

// awaitLedger waits until as much was received as was sent.
func awaitLedger(ctx context.Context, l *ledger.Ledger) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if sent, received := l.Counts(); received >= sent {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
