package network

import (
	"context"
	"errors"
	"net/netip"

	"nephos/internal/db"
)

// The names of what Bootstrap makes.
const (
	PublicName  = "public"
	PrivateName = "private"
	RouterName  = "router1"
)

// Bootstrap makes, at the first start, a default external network, a shared network and a router between them, all owned by the admin project.
// What a user deletes afterwards stays deleted: a row remembers that it was made. All of it is one transaction, so a crash leaves all or nothing.
func (s *Service) Bootstrap(ctx context.Context, adminProjectID string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		var done string
		err := tx.Get(ctx, &done, `SELECT id FROM network_bootstrap WHERE name = 'networks'`)
		if err == nil {
			return nil
		}
		if !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if err := tx.Lock(ctx, "network/bootstrap"); err != nil {
			return err
		}
		public, err := s.bootstrapNetwork(ctx, tx, adminProjectID, PublicName, s.cfg.External, true)
		if err != nil {
			return err
		}
		private, err := s.bootstrapNetwork(ctx, tx, adminProjectID, PrivateName, s.cfg.Private, false)
		if err != nil {
			return err
		}
		r, err := s.createRouter(ctx, tx, &RouterPatch{ProjectID: Some(adminProjectID), Name: Some(RouterName), Gateway: Some(Gateway{NetworkID: public.NetworkID})})
		if err != nil {
			return err
		}
		in, err := s.addSubnet(ctx, tx, Scope{Admin: true}, r, private.ID)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO router_interfaces (port_id, router_id) VALUES (?, ?)`, in.PortID, r.ID); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO network_bootstrap (name, id) VALUES ('networks', ?)`, public.NetworkID)
		if db.IsUnique(err) {
			return errStale
		}
		if err != nil {
			return err
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, []string{r.Host})
	})
	return err
}

func (s *Service) bootstrapNetwork(ctx context.Context, tx *db.Tx, project, name string, pre netip.Prefix, external bool) (*Subnet, error) {
	n, err := s.createNetwork(ctx, tx, newID(), &NetworkPatch{ProjectID: Some(project), Name: Some(name), External: Some(external), IsDefault: Some(external), Shared: Some(!external)})
	if err != nil {
		return nil, err
	}
	p := &SubnetPatch{ProjectID: Some(project), NetworkID: Some(n.ID), Name: Some(name + "-subnet"), IPVersion: Some(4), CIDR: Some(pre.Masked().String()), EnableDHCP: Some(!external)}
	return s.createSubnet(ctx, tx, newID(), p)
}
