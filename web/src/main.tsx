import 'uplot/dist/uPlot.min.css';
import './styles.css';
import { render } from 'solid-js/web';
import { App } from './view/App';

render(() => <App />, document.getElementById('root')!);
