package console

import (
	"bytes"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var pictures = flag.Bool("pictures", false, "write the pictures of the console's guide")

// picturesAt is where the guide has its pictures.
const picturesAt = "../../api/console/pictures"

// most is the most that all pictures may weigh, in bytes.
const most = 1_500_000

// looks are how pages are pictured.
var looks = []struct {
	name          string
	width, height int64
	dark          bool
	pages         []string // none: all
}{
	{"wide", 1280, 800, false, nil},
	{"phone", 390, 844, false, nil},
	{"dark", 1280, 800, true, []string{"now", "dead-letter"}},
}

// TestPictures writes the pictures of the guide, if asked to, and wants them to be there
// for every page in any case.
func TestPictures(t *testing.T) {
	if *pictures {
		takePictures(t)
	}
	size := int64(0)
	for _, look := range looks {
		for _, p := range pages {
			if !pictured(look.pages, p.name) {
				continue
			}
			info, err := os.Stat(filepath.Join(picturesAt, p.name+"-"+look.name+".png"))
			require.NoError(t, err, "make screenshots writes it")
			size += info.Size()
		}
	}
	require.LessOrEqual(t, size, int64(most))
	guide, err := os.ReadFile("../../api/console/README.md")
	require.NoError(t, err)
	for _, p := range pages {
		require.Contains(t, string(guide), "pictures/"+p.name+"-", "the guide shows %s", p.name)
	}
}

func pictured(only []string, page string) bool {
	if only == nil {
		return true
	}
	for _, p := range only {
		if p == page {
			return true
		}
	}
	return false
}

func takePictures(t *testing.T) {
	require.NoError(t, os.MkdirAll(picturesAt, 0o755)) //nolint:gosec // pictures are for all
	w := newWorld(t, 64)
	w.fill()
	w.acts()
	w.changes()
	b := startBrowser(t)
	for _, look := range looks {
		b.openAs(w.open, "now", step{"width": look.width, "height": look.height, "dark": look.dark})
		b.settled()
		b.wait("document.querySelectorAll('.tile polyline').length > 0") // some points of its charts
		for _, p := range pages {
			if !pictured(look.pages, p.name) {
				continue
			}
			b.show(p.path)
			if p.name == "drift" || p.name == "audit" {
				b.unfold()
			}
			path := filepath.Join(t.TempDir(), "shot.png")
			b.do(step{"do": "shot", "path": path})
			shrink(t, path, filepath.Join(picturesAt, p.name+"-"+look.name+".png"))
		}
	}
}

// shrink writes a picture with at most 256 colours, which is a third of the bytes and looks the
// same for a page that has few.
func shrink(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	whole, err := png.Decode(bytes.NewReader(text))
	require.NoError(t, err)
	bounds := whole.Bounds()
	small := image.NewPaletted(bounds, palette(whole, bounds))
	draw.Draw(small, bounds, whole, bounds.Min, draw.Src)
	var out bytes.Buffer
	require.NoError(t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small))
	require.NoError(t, os.WriteFile(to, out.Bytes(), 0o644)) //nolint:gosec // pictures are for all
}

// palette is of the colours that a picture has most of, a few bits of each.
func palette(whole image.Image, bounds image.Rectangle) color.Palette {
	count := map[color.RGBA]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			r, g, b, _ := whole.At(x, y).RGBA()
			count[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}]++
		}
	}
	var all color.Palette
	for len(all) < 256 && len(count) > 0 {
		var best color.RGBA
		most := 0
		for c, n := range count {
			if n > most || n == most && before(c, best) {
				best, most = c, n
			}
		}
		delete(count, best)
		if len(all) < 32 || far(best, all) {
			all = append(all, best)
		}
	}
	return all
}

// before orders colours that are there equally often, so that the same page gives the same
// picture.
func before(a, b color.RGBA) bool {
	return uint32(a.R)<<16|uint32(a.G)<<8|uint32(a.B) < uint32(b.R)<<16|uint32(b.G)<<8|uint32(b.B)
}

// far reports whether a colour is far enough from those of a palette to be worth a place.
func far(c color.RGBA, of color.Palette) bool {
	for _, o := range of {
		p := o.(color.RGBA)
		dr, dg, db := int(c.R)-int(p.R), int(c.G)-int(p.G), int(c.B)-int(p.B)
		if dr*dr+dg*dg+db*db < 60 {
			return false
		}
	}
	return true
}
