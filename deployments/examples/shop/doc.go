// Shop has products, and keeps them the same at the provider: it changes its own data and asks
// Tarn for the change there in one transaction, by the table outbox. Tarn makes a command of
// each row and carries it to the provider, in order and once. A change that was not committed
// was never asked for.
//
//	make run PROVIDER=stripe
//	go run ./deployments/examples/shop -source stripe -db .tarn/stripe/tarn.db
//	curl -X PUT http://127.0.0.1:8088/products/sku-42 -d '{"name": "Teapot"}'
//	curl 'http://127.0.0.1:8080/v1/commands?source=stripe&ref=sku-42'
//
// It is an example: copy the directory, and put your own tables in the place of its own. The
// source needs write_key and outbox: true in the settings of Tarn.
//
// # What makes it right
//
// Its tables are in Tarn's database, since a transaction holds in one database alone: in SQLite
// that means in the same file. SQLite would write to two files that are attached to one
// connection in one transaction, but in WAL mode a crash can leave it in one of them. Tarn
// leaves tables alone that are not its own; the prefix keeps their names apart. See
// [Shop.Save].
//
// The key of a row says what the wish is about, "sku-42@3", and not at random: the same change
// can be asked for once only. The number in it is that of the product, which each change
// raises in the transaction; it is also what the rows of a product are sorted by.
//
// The product is called by the shop's own name for it, which Tarn calls a ref. So it can
// be changed before the provider has made it.
//
// # On MongoDB
//
// The same with the collection outbox, on a replica set:
//
//	_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
//		var p struct{ Version int64 }
//		err := products.FindOneAndUpdate(ctx, bson.M{"_id": sku},
//			bson.M{"$set": bson.M{"name": name}, "$inc": bson.M{"version": 1}},
//			options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&p)
//		if err != nil {
//			return nil, err
//		}
//		return outbox.InsertOne(ctx, bson.M{
//			"_id": fmt.Sprintf("%s@%d", sku, p.Version), "seq": p.Version,
//			"source": source, "kind": "product", "op": op, "ref": sku, "body": bson.M{"name": name},
//		})
//	})
//
// # Files
//
//	main.go  flags, signals and HTTP
//	shop.go  the transaction
package main
