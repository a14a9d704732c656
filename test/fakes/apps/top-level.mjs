// A module that fails before it has exported anything.
throw new Error('not even loaded');
