// SPDX-License-Identifier: Apache-2.0 OR MIT

// libraries: encoding, compression, cryptography and big numbers: long
// computations over much memory whose results are known.
package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/csv"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"guest/internal/expect"
	"hash/crc32"
	"io"
	"math"
	"math/big"
	"os"
	"regexp"
	"sort"
	"strings"
	"text/template"
)

type item struct {
	Name  string             `json:"name" xml:"name"`
	Count int                `json:"count" xml:"count,attr"`
	Tags  []string           `json:"tags" xml:"tag"`
	More  map[string]float64 `json:"more,omitempty" xml:"-"`
}

func main() {
	in := item{"thing", 3, []string{"a", "b"}, map[string]float64{"pi": math.Pi}}
	j, err := json.Marshal(in)
	fmt.Println(string(j), err)
	x, err := xml.Marshal(in)
	fmt.Println(string(x), err)
	var buffer bytes.Buffer
	expect.NoError("gob", gob.NewEncoder(&buffer).Encode(in))
	var out item
	expect.NoError("gob", gob.NewDecoder(&buffer).Decode(&out))
	fmt.Println(out)
	template.Must(template.New("t").Parse("{{range $i, $t := .Tags}}{{$i}}={{$t}} {{end}}\n")).Execute(os.Stdout, in)
	records, err := csv.NewReader(strings.NewReader("a,\"b,c\",d\n1,2,3\n")).ReadAll()
	fmt.Println(records, err)

	data := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog. "), 50000)
	buffer.Reset()
	z := gzip.NewWriter(&buffer)
	z.Write(data)
	z.Close()
	fmt.Println("gzip", buffer.Len() < len(data)/50)
	r, err := gzip.NewReader(&buffer)
	expect.NoError("gunzip", err)
	back, err := io.ReadAll(r)
	fmt.Println(bytes.Equal(back, data), err, crc32.ChecksumIEEE(back))
	buffer.Reset()
	t := tar.NewWriter(&buffer)
	t.WriteHeader(&tar.Header{Name: "f", Size: 5, Mode: 0600})
	t.Write([]byte("hello"))
	t.Close()
	h, err := tar.NewReader(&buffer).Next()
	fmt.Println(h.Name, h.Size, err)
	buffer.Reset()
	zw := zip.NewWriter(&buffer)
	f, _ := zw.Create("inside")
	f.Write(data)
	zw.Close()
	zr, err := zip.NewReader(bytes.NewReader(buffer.Bytes()), int64(buffer.Len()))
	expect.NoError("zip", err)
	fmt.Println(zr.File[0].Name, zr.File[0].UncompressedSize64)

	fmt.Printf("%x\n", sha256.Sum256(data))
	fmt.Printf("%x\n", sha512.Sum512(data))
	mac := hmac.New(sha256.New, []byte("key"))
	mac.Write(data)
	fmt.Println(hex.EncodeToString(mac.Sum(nil)))
	block, _ := aes.NewCipher([]byte("0123456789abcdef"))
	gcm, _ := cipher.NewGCM(block)
	sealed := gcm.Seal(nil, make([]byte, 12), data, nil)
	fmt.Printf("%x\n", sha256.Sum256(sealed))
	opened, err := gcm.Open(nil, make([]byte, 12), sealed, nil)
	fmt.Println(bytes.Equal(opened, data), err)
	digest := sha256.Sum256(data)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	expect.NoError("ecdsa", err)
	signature, err := ecdsa.SignASN1(rand.Reader, ec, digest[:])
	fmt.Println(ecdsa.VerifyASN1(&ec.PublicKey, digest[:], signature), err)
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	fmt.Println(ed25519.Verify(public, data, ed25519.Sign(private, data)))
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	expect.NoError("rsa", err)
	secret, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &key.PublicKey, []byte("secret"), nil)
	expect.NoError("rsa", err)
	plain, err := rsa.DecryptOAEP(sha256.New(), rand.Reader, key, secret, nil)
	fmt.Println(string(plain), err)
	one, two := make([]byte, 32), make([]byte, 32)
	rand.Read(one)
	rand.Read(two)
	fmt.Println("random differs", !bytes.Equal(one, two))

	n := big.NewInt(1)
	for i := int64(1); i <= 2000; i++ {
		n.Mul(n, big.NewInt(i))
	}
	digits := n.String()
	fmt.Println(len(digits), digits[:20])
	p, _ := new(big.Int).SetString("170141183460469231731687303715884105727", 10)
	fmt.Println(p.ProbablyPrime(20), new(big.Int).Exp(big.NewInt(3), big.NewInt(1e6), p))
	fmt.Println(math.Sin(1), math.Exp(10.5), math.Pow(2, 0.5), math.Gamma(7.3), math.FMA(1.1, 2.2, 3.3))
	words := regexp.MustCompile(`\b[a-z]o[a-z]\b`).FindAllString(string(data[:45]), -1)
	sort.Strings(words)
	fmt.Println(words, base64.StdEncoding.EncodeToString(digest[:6]))
}
