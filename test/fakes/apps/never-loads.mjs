// A module that waits for something that does not come.
await new Promise(() => {});
export default () => () => 0;
