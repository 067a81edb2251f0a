package control_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatPeopleDoBesideWriting(t *testing.T) {
	a := serve(t)
	const ann, bob = "491700000011", "491700000012"
	for _, phone := range []string{ann, bob} {
		a.ok("POST", "/v1/contacts", fmt.Sprintf(`{"phone":%q,"name":"N%s"}`, phone, phone))
	}
	act := func(what, body string) map[string]any { return a.ok("POST", "/v1/contacts/"+ann+"/"+what, body) }
	first := act("send", `{"to":"`+bob+`","text":"see x.org","mention_all":true,"timer_s":60,"timer_set_at_s":5,"preview":{"url":"x.org","title":"X","description":"D","thumbnail":"AQI="}}`)["id"].(string)
	ids := map[string]string{
		act("edit", `{"to":"`+bob+`","id":"`+first+`","text":"better"}`)["id"].(string): "message_edit better " + first,
		act("react", `{"to":"`+bob+`","id":"THEIRS","emoji":"👍"}`)["id"].(string):       "reaction 👍 THEIRS",
		act("react", `{"to":"`+bob+`","id":"THEIRS","emoji":""}`)["id"].(string):        "reaction  THEIRS",
		act("revoke", `{"to":"`+bob+`","id":"`+first+`"}`)["id"].(string):               "revoke  " + first,
		act("revoke", `{"to":"`+bob+`","id":"THEIRS","by_admin":true}`)["id"].(string):  "revoke  THEIRS",
		act("timer", `{"to":"`+bob+`","seconds":86400}`)["id"].(string):                 "ephemeral_setting  <nil>",
	}
	received := func() map[string]map[string]any {
		out := map[string]map[string]any{}
		for _, each := range a.ok("GET", "/v1/ledger?to="+bob, "")["received"].([]any) {
			row := each.(map[string]any)
			out[row["id"].(string)] = row
		}
		return out
	}
	a.await("everything arrives", func() bool { return len(received()) == 1+len(ids) })
	for id, row := range received() {
		if id == first {
			want := "map[description:D mention_all:true thumbnail:AQI= timer_s:60 timer_set_at_s:5 title:X url:x.org]"
			if got := fmt.Sprint(row["details"]); got != want {
				t.Errorf("around the text: %s", got)
			}
		} else if got := fmt.Sprintf("%s %s %v", row["kind"], row["text"], row["target_id"]); got != ids[id] {
			t.Errorf("%s instead of %s", got, ids[id])
		}
	}
	a.ok("POST", "/v1/contacts/"+bob+"/follow", `{"who":"`+ann+`"}`)
	act("presence", `{"available":true}`)
	act("typing", `{"to":"`+bob+`","recording":true}`)
	act("typing", `{"to":"`+bob+`","typing":false}`)
	act("read", `{"from":"`+bob+`","ids":["R1"]}`)
	shown := func() (out string) {
		status, b := a.call("GET", "/v1/contacts/"+bob+"/seen", "")
		return fmt.Sprint(status, string(b))
	}
	for _, want := range []string{`"presence","from":"` + ann + `","value":"available"`, `"value":"recording"`, `"value":"paused"`, `"value":"read","ids":["R1"]`} {
		a.await(want, func() bool { return strings.Contains(shown(), want) })
	}
	if status, out := a.call("POST", "/v1/contacts/"+ann+"/edit", `{"to":"`+bob+`","text":"x"}`); status != 400 {
		t.Errorf("an edit of nothing: %d %s", status, out)
	}
}
