// What every program compiled by Deno costs before it does anything.
console.log("hello world");
