// Makes the MongoDB server a replica set of one, and the user that Tarn is there. It may run
// again: then it brings the user's password up to date. Writes that wait for a majority need
// a replica set for the word to mean something.
const fs = require("fs");
const secret = (name) => fs.readFileSync("/run/secrets/" + name, "utf8").trim();

const server = new Mongo(`mongodb://root:${encodeURIComponent(secret("mongodb_root_password"))}@mongodb:27017/?directConnection=true&authSource=admin`);
const admin = server.getDB("admin");
try {
  admin.adminCommand({ replSetGetStatus: 1 });
} catch (e) {
  if (e.codeName !== "NotYetInitialized") throw e;
  admin.adminCommand({ replSetInitiate: { _id: "tarn", members: [{ _id: 0, host: "mongodb:27017" }] } });
}
while (!admin.adminCommand({ hello: 1 }).isWritablePrimary) sleep(200);

const user = { pwd: secret("mongodb_password"), roles: ["readWrite", "dbAdmin"].map((role) => ({ role, db: "tarn" })) };
if (admin.getUser("tarn") === null) admin.createUser({ user: "tarn", ...user });
else admin.updateUser("tarn", user);
print("the replica set has its primary, and tarn is a user of it");
