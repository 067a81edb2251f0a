package control

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wharf/connectors/internal/sim/ledger"
	"wharf/connectors/internal/sim/server"
)

// collector shows the counters that the server keeps anyway, so that there is one place where things are counted.
type collector struct {
	server *server.Server
	ledger *ledger.Ledger
}

const prefix = "wharf_simulator_"

// Metrics serves the simulator's counters to Prometheus.
func Metrics(s *server.Server, l *ledger.Ledger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{s, l}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe sends nothing: an unchecked collector, whose label values clients choose.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect takes one snapshot.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	st := c.server.Stats()
	sent, received := c.ledger.Counts()
	emit := func(kind prometheus.ValueType, name, help string, value int) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(prefix+name, help, nil, nil), kind, float64(value))
	}
	emit(prometheus.GaugeValue, "devices_online", "Devices that are logged in.", st.Online)
	emit(prometheus.GaugeValue, "phones", "Phones that exist.", st.Phones)
	emit(prometheus.GaugeValue, "queued_stanzas", "Stanzas that no device has acknowledged.", st.Queued)
	emit(prometheus.GaugeValue, "ledger_sent", "Entries in the ledger of accepted messages.", sent)
	emit(prometheus.GaugeValue, "ledger_received", "Entries in the ledger of messages that contacts decrypted.", received)
	emit(prometheus.CounterValue, "connections_total", "Connections taken.", st.Connections)
	emit(prometheus.CounterValue, "logins_total", "Logins let in.", st.Logins)
	emit(prometheus.CounterValue, "logins_refused_total", "Logins refused.", st.RefusedLogins)
	emit(prometheus.CounterValue, "paired_total", "Devices paired.", st.Paired)
	emit(prometheus.CounterValue, "messages_accepted_total", "Messages accepted, repetitions for retry receipts not counted.", st.Accepted)
	emit(prometheus.CounterValue, "messages_repeated_total", "Messages encrypted once more after a retry receipt, and peer messages.", st.Repeated)
	emit(prometheus.CounterValue, "stanzas_redelivered_total", "Queued stanzas sent again after a login.", st.Redelivered)
	emit(prometheus.CounterValue, "malformed_frames_total", "Frames that ended their connection.", st.Malformed)
	emit(prometheus.CounterValue, "handshakes_refused_total", "Handshakes that failed.", st.RefusedHandshakes)
	emit(prometheus.CounterValue, "unknown_stanzas_total", "Stanzas without a handler; /v1/stats lists them.", st.UnknownCount)
	queries := prometheus.NewDesc(prefix+"queries_total", "Queries by namespace, type and child.", []string{"kind"}, nil)
	for kind, n := range st.Queries {
		out <- prometheus.MustNewConstMetric(queries, prometheus.CounterValue, float64(n), label(kind))
	}
	receipts := prometheus.NewDesc(prefix+"receipts_total", "Receipts by type.", []string{"type"}, nil)
	for kind, n := range st.Receipts {
		out <- prometheus.MustNewConstMetric(receipts, prometheus.CounterValue, float64(n), label(kind))
	}
}

// label makes a valid label value of what a client sent.
func label(text string) string { return strings.ToValidUTF8(text, "?") }
