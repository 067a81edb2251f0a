package host

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"wharf/connectors/internal/hostpb"
)

// Metrics and health of the process.

type metrics struct {
	registry      *prometheus.Registry
	entries       prometheus.Counter
	entryBytes    prometheus.Counter
	undecryptable prometheus.Counter
	messages      *prometheus.CounterVec
	sends         *prometheus.CounterVec
	counted       struct{ entries, undecryptable func() uint64 }
}

func newMetrics(h *Host) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wharf_host_journal_entries_total", Help: "Journal entries given to the connector."}),
		entryBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wharf_host_journal_bytes_total", Help: "Bytes of journal entries given to the connector."}),
		undecryptable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wharf_host_undecryptable_total", Help: "Messages that could not be decrypted."}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wharf_host_messages_total", Help: "Messages journaled."}, []string{"direction"}),
		sends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wharf_host_sends_total", Help: "Sends and marks by outcome."}, []string{"outcome"}),
	}
	gauge := func(name, help string, value func(*hostpb.HostStats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(h.counts()) })
	}
	m.registry.MustRegister(
		m.entries, m.entryBytes, m.undecryptable, m.messages, m.sends,
		gauge("wharf_host_sessions", "Sessions in this process.", func(s *hostpb.HostStats) float64 { return float64(s.Sessions) }),
		gauge("wharf_host_sessions_online", "Sessions that are online.", func(s *hostpb.HostStats) float64 { return float64(s.Online) }),
		gauge("wharf_host_frames_held", "Frames that wait for their journal entry.", func(s *hostpb.HostStats) float64 { return float64(s.FramesHeld) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.counted.entries = counterValue(m.entries)
	m.counted.undecryptable = counterValue(m.undecryptable)
	return m
}

// Telemetry serves /metrics and /healthz.
func (h *Host) Telemetry() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		counts := h.counts()
		status := map[string]any{"status": "ok", "checks": map[string]any{
			"connector": h.ctx.Err() == nil, "sessions": counts.Sessions, "online": counts.Online,
		}}
		w.Header().Set("Content-Type", "application/json")
		if h.ctx.Err() != nil {
			status["status"] = "unhealthy"
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if err := json.NewEncoder(w).Encode(status); err != nil {
			h.log.Debug("health answer not written", "error", err)
		}
	})
	return mux
}

// counts are the figures that cost little.
func (h *Host) counts() *hostpb.HostStats {
	st := &hostpb.HostStats{Goroutines: uint32(runtime.NumGoroutine())}
	for _, s := range h.all() {
		st.Sessions++
		if s.online.Load() {
			st.Online++
		}
		if g := s.gate.Load(); g != nil {
			st.FramesHeld += uint64(g.heldFrames())
		}
	}
	return st
}

func (h *Host) stats() *hostpb.HostStats {
	st := h.counts()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	st.HeapBytes = mem.HeapInuse
	st.RssBytes = residentBytes()
	st.JournalEntries = h.metrics.counted.entries()
	st.Undecryptable = h.metrics.counted.undecryptable()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err == nil {
		st.CpuMs = uint64(use.Utime.Nano()+use.Stime.Nano()) / 1e6
	}
	return st
}

// residentBytes is the process's resident memory; 0 where /proc does not exist.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// counterValue reads a counter back.
func counterValue(c prometheus.Counter) func() uint64 {
	return func() uint64 {
		var m dto.Metric
		if err := c.Write(&m); err != nil {
			return 0
		}
		return uint64(m.GetCounter().GetValue())
	}
}
