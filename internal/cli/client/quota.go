package client

import (
	"context"
	"strconv"
	"strings"

	volumequota "github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/quotasets"
	networkquota "github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/quotas"
)

// Quota is the noun quota.
type Quota struct {
	Flags
	Show QuotaShow `cmd:"" help:"Show what a project may have and has."`
	Set  QuotaSet  `cmd:"" help:"Set limits (admin): instances=20 cores=40 ram=65536 volumes=50 floatingip=10 …"`
}

// QuotaShow shows.
type QuotaShow struct {
	Project string `placeholder:"ID" help:"Project (that of the credentials)."`
}

// Run shows limits and use of the three services.
func (v *QuotaShow) Run(ctx context.Context, s *Session) error {
	project, err := s.quotaProject(ctx, v.Project)
	if err != nil {
		return err
	}
	l := listing{head: []string{"service", "resource", "limit", "used"}}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	q, err := quotasets.GetDetail(ctx, c, project).Extract()
	if err != nil {
		return err
	}
	for _, r := range []struct {
		name string
		d    quotasets.QuotaDetail
	}{{"instances", q.Instances}, {"cores", q.Cores}, {"ram", q.RAM}, {"key_pairs", q.KeyPairs}, {"server_groups", q.ServerGroups}, {"metadata_items", q.MetadataItems}} {
		l.add("compute", r.name, limit(r.d.Limit), r.d.InUse)
	}
	if c, err = s.volume(ctx); err == nil {
		q, err := volumequota.GetUsage(ctx, c, project).Extract()
		if err != nil {
			return err
		}
		for _, r := range []struct {
			name string
			d    volumequota.QuotaUsage
		}{{"volumes", q.Volumes}, {"gigabytes", q.Gigabytes}, {"snapshots", q.Snapshots}} {
			l.add("volume", r.name, limit(r.d.Limit), r.d.InUse)
		}
	}
	if c, err = s.network(ctx); err == nil {
		q, err := networkquota.GetDetail(ctx, c, project).Extract()
		if err != nil {
			return err
		}
		for _, r := range []struct {
			name string
			d    networkquota.QuotaDetail
		}{{"network", q.Network}, {"subnet", q.Subnet}, {"port", q.Port}, {"router", q.Router}, {"floatingip", q.FloatingIP},
			{"security_group", q.SecurityGroup}, {"security_group_rule", q.SecurityGroupRule}} {
			l.add("network", r.name, limit(r.d.Limit), r.d.Used)
		}
	}
	return s.printList(l)
}

// limit shows OpenStack's -1 as what it means.
func limit(n int) any {
	if n < 0 {
		return "unlimited"
	}
	return n
}

func (s *Session) quotaProject(ctx context.Context, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	return s.projectID(ctx)
}

// QuotaSet sets.
type QuotaSet struct {
	Project string   `placeholder:"ID" help:"Project (that of the credentials)."`
	Limits  []string `arg:"" name:"key=value" help:"Limits; -1 is none."`
}

// quotaFields says which service a limit belongs to and where it goes.
func quotaFields(c *quotasets.UpdateOpts, v *volumequota.UpdateOpts, n *networkquota.UpdateOpts) map[string]**int {
	return map[string]**int{
		"instances": &c.Instances, "cores": &c.Cores, "ram": &c.RAM, "key_pairs": &c.KeyPairs, "server_groups": &c.ServerGroups,
		"server_group_members": &c.ServerGroupMembers, "metadata_items": &c.MetadataItems,
		"volumes": &v.Volumes, "gigabytes": &v.Gigabytes, "snapshots": &v.Snapshots,
		"network": &n.Network, "subnet": &n.Subnet, "port": &n.Port, "router": &n.Router, "floatingip": &n.FloatingIP,
		"security_group": &n.SecurityGroup, "security_group_rule": &n.SecurityGroupRule,
	}
}

// Run sets limits, each with the service that it belongs to.
func (v *QuotaSet) Run(ctx context.Context, s *Session) error {
	var co quotasets.UpdateOpts
	var vo volumequota.UpdateOpts
	var no networkquota.UpdateOpts
	fields := quotaFields(&co, &vo, &no)
	for _, kv := range v.Limits {
		key, value, ok := strings.Cut(kv, "=")
		key = strings.ReplaceAll(key, "-", "_")
		n, err := strconv.Atoi(value)
		if !ok || err != nil || n < -1 {
			return usagef("%q is not KEY=NUMBER", kv)
		}
		at, known := fields[key]
		if !known {
			return usagef("there is no limit %s%s", key, suggest(key, sortedKeys(fields)))
		}
		*at = &n
	}
	project, err := s.quotaProject(ctx, v.Project)
	if err != nil {
		return err
	}
	if co != (quotasets.UpdateOpts{}) {
		c, err := s.compute(ctx)
		if err == nil {
			err = quotasets.Update(ctx, c, project, co).Err
		}
		if err != nil {
			return err
		}
	}
	if vo.Volumes != nil || vo.Gigabytes != nil || vo.Snapshots != nil {
		c, err := s.volume(ctx)
		if err == nil {
			err = volumequota.Update(ctx, c, project, vo).Err
		}
		if err != nil {
			return err
		}
	}
	if no != (networkquota.UpdateOpts{}) {
		c, err := s.network(ctx)
		if err == nil {
			err = networkquota.Update(ctx, c, project, no).Err
		}
		if err != nil {
			return err
		}
	}
	show := QuotaShow{Project: v.Project}
	return show.Run(ctx, s)
}
