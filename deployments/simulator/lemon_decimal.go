package simulator

import (
	"fmt"
	"strconv"
	"strings"
)

// Places behind the point, as the provider writes its numbers.
const (
	moneyPlaces  = 2
	pricePlaces  = 4
	sharesPlaces = 5
)

// decimal writes n units of 10^-places as the provider does: decimal(150, 2)
// is "1.50". Money is counted in whole units and never passes through a float.
func decimal(n int64, places int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := fmt.Sprintf("%0*d", places+1, n)
	return sign + s[:len(s)-places] + "." + s[len(s)-places:]
}

// units reads what decimal wrote. Text it did not write reads as 0.
func units(s string) int64 {
	n, err := strconv.ParseInt(strings.Replace(s, ".", "", 1), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func money(cents int64) string { return decimal(cents, moneyPlaces) }
func price(n int64) string     { return decimal(n, pricePlaces) }
func shares(n int64) string    { return decimal(n, sharesPlaces) }

// cost is the cents that a quantity of shares costs at a price.
func cost(quantity, price int64) int64 {
	const scale = 10_000_000 // sharesPlaces + pricePlaces - moneyPlaces
	return quantity * price / scale
}

// afford is the quantity of shares that cents buy at a price.
func afford(cents, price int64) int64 {
	const scale = 10_000_000
	return cents * scale / price
}
