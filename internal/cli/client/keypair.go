package client

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/keypairs"
	"golang.org/x/crypto/ssh"
)

// Keypair is the noun keypair.
type Keypair struct {
	Flags
	List   KeypairList   `cmd:"" help:"List key pairs."`
	Create KeypairCreate `cmd:"" help:"Import a public key, or make a new pair."`
	Delete KeypairDelete `cmd:"" help:"Delete key pairs."`
}

// KeypairList lists.
type KeypairList struct{}

// Run lists key pairs.
func (KeypairList) Run(ctx context.Context, s *Session) error {
	all, err := s.keypairs(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"name", "fingerprint"}, empty: "no key pairs"}
	for _, k := range all {
		l.add(k.Name, k.Fingerprint)
	}
	return s.printList(l)
}

func (s *Session) keypairs(ctx context.Context) ([]keypairs.KeyPair, error) {
	c, err := s.compute(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := keypairs.List(c, keypairs.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return keypairs.ExtractKeyPairs(pages)
}

// KeypairCreate imports or makes.
type KeypairCreate struct {
	Name      string `arg:""`
	PublicKey string `placeholder:"FILE" help:"Import this. Without it a pair is made here and the private key printed, or written to --out."`
	Out       string `short:"o" placeholder:"FILE" help:"Write the new private key here (0600)."`
}

// Run imports the key. A new pair is made on this side (Ed25519): the private key never travels, and clouds after microversion 2.92 make none.
func (k *KeypairCreate) Run(ctx context.Context, s *Session) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	var public []byte
	var private []byte
	if k.PublicKey != "" {
		if public, err = publicKey(k.PublicKey); err != nil {
			return err
		}
	} else if public, private, err = newKey(k.Name); err != nil {
		return err
	}
	if k.Out != "" && private != nil { // before the cloud knows the key: a pair whose private half is lost is worth nothing
		f, err := os.OpenFile(k.Out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return usagef("%v", err)
		}
		_, err = f.Write(private)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	made, err := keypairs.Create(ctx, c, keypairs.CreateOpts{Name: k.Name, PublicKey: strings.TrimSpace(string(public))}).Extract()
	if err != nil {
		return err
	}
	if private != nil && k.Out == "" {
		_, err = s.Out.Write(private)
		return err
	}
	return s.printFields([]field{{"name", made.Name}, {"fingerprint", made.Fingerprint}})
}

func newKey(comment string) (public, private []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return nil, nil, err
	}
	sp, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	return ssh.MarshalAuthorizedKey(sp), pem.EncodeToMemory(block), nil
}

// KeypairDelete deletes.
type KeypairDelete struct {
	Names []string `arg:"" name:"name"`
}

// Run deletes key pairs.
func (k *KeypairDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	for _, n := range k.Names {
		if err := keypairs.Delete(ctx, c, n, nil).ExtractErr(); err != nil {
			return err
		}
	}
	return nil
}

// publicKey reads a public key file; a private key's path means the .pub beside it.
func publicKey(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err == nil && bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		b, err = os.ReadFile(path + ".pub")
	}
	if err != nil {
		return nil, usagef("%v", err)
	}
	return b, nil
}

// keyFor is the name of the key pair that --key means: a key pair's own, or that of a file's key, which is imported under the file's name if the project
// does not have it. The key itself is compared, so a file that was imported under another name is not imported again.
func (s *Session) keyFor(ctx context.Context, key string) (string, error) {
	all, err := s.keypairs(ctx)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(key)
	isFile := err == nil && !info.IsDir()
	if err != nil && !errors.Is(err, fs.ErrNotExist) || !isFile && strings.ContainsRune(key, filepath.Separator) || !isFile && strings.HasSuffix(key, ".pub") {
		return "", usagef("--key: there is no file %s", key)
	}
	named := func(name string) *keypairs.KeyPair {
		for i := range all {
			if all[i].Name == name {
				return &all[i]
			}
		}
		return nil
	}
	if k := named(key); k != nil && !strings.ContainsRune(key, filepath.Separator) {
		return k.Name, nil
	}
	if !isFile {
		var names []string
		for _, k := range all {
			names = append(names, k.Name)
		}
		return "", usagef("--key %s is neither a file nor a key pair%s", key, suggest(key, names))
	}
	text, err := publicKey(key)
	if err != nil {
		return "", err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return "", usagef("--key: %s holds no public key", key)
	}
	fingerprint := ssh.FingerprintLegacyMD5(parsed) // what Nova shows
	for _, k := range all {
		if k.Fingerprint == fingerprint {
			return k.Name, nil
		}
	}
	name := keyName(key)
	if named(name) != nil {
		return "", usagef("the key pair %s is another key than %s; import it under a name of its own: nephos keypair create NAME --public-key %s", name, key, key)
	}
	c, err := s.compute(ctx)
	if err != nil {
		return "", err
	}
	if err := keypairs.Create(ctx, c, keypairs.CreateOpts{Name: name, PublicKey: strings.TrimSpace(string(text))}).Err; err != nil {
		return "", fmt.Errorf("key pair %s: %w", name, err)
	}
	fmt.Fprintf(s.Err, "key pair %s imported from %s\n", name, key)
	return name, nil
}

// keyName is the file's name without .pub, in the letters that Nova allows before microversion 2.92.
func keyName(path string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == ' ' {
			return r
		}
		return '-'
	}, strings.TrimSuffix(filepath.Base(path), ".pub"))
}
