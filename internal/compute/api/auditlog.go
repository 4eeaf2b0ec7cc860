package api

import (
	"fmt"
	"net/url"
	"time"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// auditRoutes tell about the monthly usage audit that Nova's hosts can run by themselves. Hosts here run none (usage is counted from the rows whenever it is asked
// for), so every period says of every host that it has not run, as Nova's does where the audit is not configured.
func (f *face) auditRoutes() []httpapi.Route {
	const rule, path = "os_compute_api:os-instance-usage-audit-log:", "/os-instance_usage_audit_log"
	return []httpapi.Route{
		{Method: get, Path: path, Name: "audits.list", Rule: rule + "list", Handler: func(*httpapi.Request) (any, error) {
			return obj{"instance_usage_audit_logs": f.audit(f.svc.Clock.Now().UTC())}, nil
		}},
		{Method: get, Path: path + "/{id}", Name: "audits.show", Rule: rule + "show", Handler: func(r *httpapi.Request) (any, error) {
			text := r.Param("id")
			if plain, err := url.PathUnescape(text); err == nil {
				text = plain
			}
			for _, form := range []string{"2006-01-02 15:04:05", "2006-01-02 15:04:05.999999"} {
				if before, err := time.Parse(form, text); err == nil {
					return obj{"instance_usage_audit_log": f.audit(before)}, nil
				}
			}
			return nil, fault.Invalid("id", "Invalid timestamp for date %s", text)
		}},
	}
}

// audit is of the last whole month before a moment.
func (f *face) audit(before time.Time) obj {
	end := time.Date(before.Year(), before.Month(), 1, 0, 0, 0, 0, time.UTC)
	hosts := []string{}
	for _, h := range f.svc.Hosts.Rows() {
		hosts = append(hosts, h.Name)
	}
	const form = "2006-01-02 15:04:05"
	return obj{"period_beginning": end.AddDate(0, -1, 0).Format(form), "period_ending": end.Format(form), "num_hosts": len(hosts), "num_hosts_done": 0, "num_hosts_running": 0,
		"num_hosts_not_run": len(hosts), "hosts_not_run": hosts, "total_instances": 0, "total_errors": 0, "overall_status": fmt.Sprintf("0 of %d hosts done. 0 errors.", len(hosts)), "log": obj{}}
}
