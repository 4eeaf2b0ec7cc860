package image

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"hash"
	"time"

	_ "crypto/sha256" // the hashes that signatures may name
	_ "crypto/sha512" // as above

	"nephos/internal/fault"
)

// The properties by which an owner says that an image is signed; all four or none count (Glance's image signature verification).
const (
	sigValue = "img_signature" // base64
	sigHash  = "img_signature_hash_method"
	sigKey   = "img_signature_key_type"
	sigCert  = "img_signature_certificate_uuid"
)

var sigHashes = map[string]crypto.Hash{"SHA-224": crypto.SHA224, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

// signed is a signature that the bytes of an upload must fit. nil: the image carries none.
type signed struct {
	sum   hash.Hash
	algo  crypto.Hash
	key   crypto.PublicKey
	value []byte
	pss   bool
}

func badSignature(format string, args ...any) error {
	return fault.Invalid("img_signature", "Signature verification failed: "+format, args...)
}

// signature reads an image's signature properties. RSA-PSS with MGF1 of the same hash, and ECDSA on the NIST prime curves, are what this build can verify; other key
// types are refused rather than passed over.
func (s *Service) signature(ctx context.Context, img Image) (*signed, error) {
	for _, name := range []string{sigValue, sigHash, sigKey, sigCert} {
		if img.Properties[name] == "" {
			return nil, nil //nolint:nilnil // no signature is no error
		}
	}
	out := &signed{}
	var ok bool
	if out.algo, ok = sigHashes[img.Properties[sigHash]]; !ok {
		return nil, badSignature("the hash method %q is none of SHA-224, SHA-256, SHA-384, SHA-512", img.Properties[sigHash])
	}
	var err error
	if out.value, err = base64.StdEncoding.DecodeString(img.Properties[sigValue]); err != nil {
		return nil, badSignature("the signature is not base64")
	}
	if s.cfg.Certificate == nil {
		return nil, badSignature("this cloud holds no certificates to verify signatures with")
	}
	cert, err := s.cfg.Certificate(ctx, img.Properties[sigCert])
	if err != nil {
		return nil, badSignature("certificate %s cannot be had", img.Properties[sigCert])
	}
	if now := time.Now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return nil, badSignature("certificate %s is not valid at this time", img.Properties[sigCert])
	}
	out.key = cert.PublicKey
	switch kind := img.Properties[sigKey]; kind {
	case "RSA-PSS":
		_, ok = out.key.(*rsa.PublicKey)
		out.pss = true
	case "ECC_SECP384R1", "ECC_SECP521R1":
		_, ok = out.key.(*ecdsa.PublicKey)
	default:
		return nil, badSignature("the key type %q is none of RSA-PSS, ECC_SECP384R1, ECC_SECP521R1", kind)
	}
	if !ok {
		return nil, badSignature("the key of certificate %s is of another type than %s", img.Properties[sigCert], img.Properties[sigKey])
	}
	out.sum = out.algo.New()
	return out, nil
}

// hash is what the bytes are to be fed to; nil for none.
func (g *signed) hash() hash.Hash {
	if g == nil {
		return nil
	}
	return g.sum
}

// verify is called when all bytes have passed.
func (g *signed) verify() error {
	if g == nil {
		return nil
	}
	digest := g.sum.Sum(nil)
	good := false
	if g.pss {
		good = rsa.VerifyPSS(g.key.(*rsa.PublicKey), g.algo, digest, g.value, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil
	} else {
		good = ecdsa.VerifyASN1(g.key.(*ecdsa.PublicKey), digest, g.value)
	}
	if !good {
		return badSignature("the data is not what was signed")
	}
	return nil
}
